package store

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/api/apitesting"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/utils/clock"
)

// The test bodies that upstream runs its storage layer with against a real etcd, on the memory store. Not run are
// those that need the layer's private errors (deletion of objects that cannot be decoded).

var (
	testScheme = runtime.NewScheme()
	testCodecs = serializer.NewCodecFactory(testScheme)
)

func init() {
	metav1.AddToGroupVersion(testScheme, metav1.SchemeGroupVersion)
	utilruntime.Must(example.AddToScheme(testScheme))
	utilruntime.Must(examplev1.AddToScheme(testScheme))
}

// fixture is upstream's storage layer on a memory store.
type fixture struct {
	storage.Interface
	compactRevision func() int64
	client          *kubernetes.Client
	codec           *faultyCodec
	transformer     *swapTransformer
	calls           *storagetesting.KVRecorder
	lists           *storagetesting.KubernetesRecorder
}

// faultyCodec and swapTransformer let a test change what the layer was made with.
type faultyCodec struct {
	runtime.Codec
	fail atomic.Bool
}

func (c *faultyCodec) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if c.fail.Load() {
		return nil, nil, errors.New("synthetic decoding error")
	}
	return c.Codec.Decode(data, defaults, into)
}

type swapTransformer struct {
	now atomic.Pointer[value.Transformer]
}

func (s *swapTransformer) set(t value.Transformer) { s.now.Store(&t) }

func (s *swapTransformer) TransformFromStorage(ctx context.Context, data []byte, about value.Context) ([]byte, bool, error) {
	return (*s.now.Load()).TransformFromStorage(ctx, data, about)
}

func (s *swapTransformer) TransformToStorage(ctx context.Context, data []byte, about value.Context) ([]byte, error) {
	return (*s.now.Load()).TransformToStorage(ctx, data, about)
}

const storedPrefix = "test!"

// UpdatePrefixTransformer implements storagetesting.InterfaceWithPrefixTransformer.
func (f *fixture) UpdatePrefixTransformer(change storagetesting.PrefixTransformerModifier) func() {
	before := *f.transformer.now.Load()
	changed := *before.(*storagetesting.PrefixTransformer)
	f.transformer.set(change(&changed))
	return func() { f.transformer.set(before) }
}

func newFixture(t testing.TB) *fixture {
	m := NewMemory(MemoryOptions{CompactExactly: true})
	t.Cleanup(m.Stop)
	f := &fixture{client: m.Client(), codec: &faultyCodec{Codec: apitesting.TestCodec(testCodecs, examplev1.SchemeGroupVersion)},
		transformer: &swapTransformer{}}
	f.transformer.set(storagetesting.NewPrefixTransformer([]byte(storedPrefix), false))
	f.lists = storagetesting.NewKubernetesRecorder(f.client.Kubernetes)
	f.calls = storagetesting.NewKVRecorder(f.client.KV, f.lists)
	f.client.KV, f.client.Kubernetes = f.calls, f.lists
	compactor := etcd3.NewCompactor(f.client.Client, 0, clock.RealClock{}, nil)
	t.Cleanup(compactor.Stop)
	versioner := storage.APIObjectVersioner{}
	layer, err := etcd3.New(f.client, compactor, f.codec, func() runtime.Object { return &example.Pod{} },
		func() runtime.Object { return &example.PodList{} }, "", "/pods/", schema.GroupResource{Resource: "pods"},
		f.transformer, etcd3.LeaseManagerConfig{ReuseDurationSeconds: 1, MaxObjectCount: 1_000},
		etcd3.NewDefaultDecoder(f.codec, versioner), versioner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(layer.Close)
	f.Interface, f.compactRevision = layer, layer.CompactRevision
	return f
}

func (f *fixture) raiseRevision(ctx context.Context, t *testing.T) int64 {
	r, err := f.client.KV.Put(ctx, "increaseRV", "ok")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

func (f *fixture) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	rev, err := storage.APIObjectVersioner{}.ParseResourceVersion(resourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	version, _, _, err := etcd3.Compact(ctx, f.client.Client, 0, int64(rev))
	if err != nil {
		_, _, _, err = etcd3.Compact(ctx, f.client.Client, version, int64(rev))
	}
	if err != nil {
		t.Fatal(err)
	}
	for utilfeature.DefaultFeatureGate.Enabled(features.ListFromCacheSnapshot) && f.compactRevision() != int64(rev) {
		time.Sleep(10 * time.Millisecond)
	}
}

func (f *fixture) checkStored(ctx context.Context, t *testing.T, key string) {
	r, err := f.client.KV.Get(ctx, key)
	if err != nil || len(r.Kvs) == 0 {
		t.Fatalf("%s: %v, %v", key, r, err)
	}
	object, err := runtime.Decode(f.codec, r.Kvs[0].Value[len(storedPrefix):])
	if err != nil {
		t.Fatal(err)
	}
	if pod := object.(*example.Pod); pod.ResourceVersion != "" {
		t.Errorf("%s is stored with its resource version: %+v", key, pod.ObjectMeta)
	}
}

// checkCalls expects as many reads as pages that double in size.
func (f *fixture) checkCalls(t *testing.T, pageSize, objects uint64) {
	if got := (*f.transformer.now.Load()).(*storagetesting.PrefixTransformer).GetReadsAndReset(); got != objects {
		t.Errorf("%d objects were read, want %d", got, objects)
	}
	want := uint64(1)
	if page := pageSize; page != 0 {
		for sum := uint64(1); sum < objects; want++ {
			page = min(2*page, 10_000)
			sum += page
		}
	}
	if got := f.calls.GetReadsAndReset() + f.calls.GetStreamReadsAndReset(); got > want {
		t.Errorf("%d reads, want at most %d", got, want)
	}
}

func (f *fixture) keys(ctx context.Context) ([]string, error) {
	r, err := f.client.KV.Get(ctx, "/pods/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, kv := range r.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys, nil
}

// waiting are the bodies that wait for a second or so: they do it together, after the others. Those others set feature gates of the
// process, or have objects that live for a second, which a test must not spend waiting for its turn.
var waiting = map[string]bool{"CreateWithTTL": true, "GuaranteedUpdateWithTTL": true, "DelayedWatchDelivery": true, "WatchFromZero": true,
	"ListInconsistentContinuation": true, "CompactRevision": true}

func TestUpstreamStorageTestsPassOnTheMemoryStore(t *testing.T) {
	simple := map[string]func(context.Context, *testing.T, storage.Interface){
		"CreateWithTTL":                          storagetesting.RunTestCreateWithTTL,
		"CreateWithKeyExist":                     storagetesting.RunTestCreateWithKeyExist,
		"Get":                                    storagetesting.RunTestGet,
		"UnconditionalDelete":                    storagetesting.RunTestUnconditionalDelete,
		"ConditionalDelete":                      storagetesting.RunTestConditionalDelete,
		"DeleteWithSuggestion":                   storagetesting.RunTestDeleteWithSuggestion,
		"DeleteWithSuggestionAndConflict":        storagetesting.RunTestDeleteWithSuggestionAndConflict,
		"DeleteWithSuggestionOfDeletedObject":    storagetesting.RunTestDeleteWithSuggestionOfDeletedObject,
		"ValidateDeletionWithSuggestion":         storagetesting.RunTestValidateDeletionWithSuggestion,
		"ValidateDeletionWithOnlySuggestion":     storagetesting.RunTestValidateDeletionWithOnlySuggestionValid,
		"DeleteWithConflict":                     storagetesting.RunTestDeleteWithConflict,
		"PreconditionalDeleteWithSuggestion":     storagetesting.RunTestPreconditionalDeleteWithSuggestion,
		"PreconditionalDeleteWithSuggestionPass": storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass,
		"ListPaging":                             storagetesting.RunTestListPaging,
		"GetListRecursivePrefix":                 storagetesting.RunTestGetListRecursivePrefix,
		"KeySchema":                              storagetesting.RunTestKeySchema,
		"GuaranteedUpdateWithTTL":                storagetesting.RunTestGuaranteedUpdateWithTTL,
		"GuaranteedUpdateWithConflict":           storagetesting.RunTestGuaranteedUpdateWithConflict,
		"GuaranteedUpdateWithSuggestionConflict": storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict,
		"NamespaceScopedList":                    storagetesting.RunTestNamespaceScopedList,
		"Watch":                                  storagetesting.RunTestWatch,
		"ClusterScopedWatch":                     storagetesting.RunTestClusterScopedWatch,
		"NamespaceScopedWatch":                   storagetesting.RunTestNamespaceScopedWatch,
		"DeleteTriggerWatch":                     storagetesting.RunTestDeleteTriggerWatch,
		"WatchFromNonZero":                       storagetesting.RunTestWatchFromNonZero,
		"DelayedWatchDelivery":                   storagetesting.RunTestDelayedWatchDelivery,
		"WatchContextCancel":                     storagetesting.RunTestWatchContextCancel,
		"WatcherTimeout":                         storagetesting.RunTestWatcherTimeout,
		"WatchDeleteEventObjectHaveLatestRV":     storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV,
		"WatchInitializationSignal":              storagetesting.RunTestWatchInitializationSignal,
		"SendInitialEventsBackwardCompatibility": storagetesting.RunSendInitialEventsBackwardCompatibility,
	}
	for name, body := range simple {
		t.Run(name, func(t *testing.T) {
			if waiting[name] {
				t.Parallel()
			}
			body(t.Context(), t, newFixture(t))
		})
	}
	special := map[string]func(*testing.T, *fixture){
		"Create": func(t *testing.T, f *fixture) { storagetesting.RunTestCreate(t.Context(), t, f, f.checkStored) },
		"GetListNonRecursive": func(t *testing.T, f *fixture) {
			storagetesting.RunTestGetListNonRecursive(t.Context(), t, f.raiseRevision, f)
		},
		"GuaranteedUpdate": func(t *testing.T, f *fixture) {
			storagetesting.RunTestGuaranteedUpdate(t.Context(), t, f, f.checkStored)
		},
		"GuaranteedUpdateChecksStoredData": func(t *testing.T, f *fixture) {
			storagetesting.RunTestGuaranteedUpdateChecksStoredData(t.Context(), t, f)
		},
		"TransformationFailure": func(t *testing.T, f *fixture) {
			storagetesting.RunTestTransformationFailure(t.Context(), t, f)
		},
		"CompactRevision": func(t *testing.T, f *fixture) {
			storagetesting.RunTestCompactRevision(t.Context(), t, f, f.raiseRevision, f.compact)
		},
		"ListContinuation": func(t *testing.T, f *fixture) {
			storagetesting.RunTestListContinuation(t.Context(), t, f, f.checkCalls)
		},
		"ListPaginationRareObject": func(t *testing.T, f *fixture) {
			storagetesting.RunTestListPaginationRareObject(t.Context(), t, f, f.checkCalls)
		},
		"ListContinuationWithFilter": func(t *testing.T, f *fixture) {
			storagetesting.RunTestListContinuationWithFilter(t.Context(), t, f, f.checkCalls)
		},
		"ListInconsistentContinuation": func(t *testing.T, f *fixture) {
			storagetesting.RunTestListInconsistentContinuation(t.Context(), t, f, f.compact)
		},
		"ListResourceVersionMatch": func(t *testing.T, f *fixture) {
			storagetesting.RunTestListResourceVersionMatch(t.Context(), t, f)
		},
		"WatchFromZero": func(t *testing.T, f *fixture) {
			storagetesting.RunTestWatchFromZero(t.Context(), t, f, f.compact)
		},
		"WatchError": func(t *testing.T, f *fixture) { storagetesting.RunTestWatchError(t.Context(), t, f) },
		"ProgressNotify": func(t *testing.T, f *fixture) {
			f.askForProgress(t)
			storagetesting.RunOptionalTestProgressNotify(t.Context(), t, f, f.raiseRevision)
		},
		"WatchDispatchBookmarkEvents": func(t *testing.T, f *fixture) {
			f.askForProgress(t)
			storagetesting.RunTestWatchDispatchBookmarkEvents(t.Context(), t, f, false)
		},
		"DeleteExpectingDecodeErrorThatIsMissing": func(t *testing.T, f *fixture) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.AllowUnsafeMalformedObjectDeletion, true)
			storagetesting.RunTestDeleteWithConflictAndMissingExpectedTransformOrDecodeError(t.Context(), t, f, f.codec.fail.Store)
		},
		"DeleteExpectingDecodeError": func(t *testing.T, f *fixture) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.AllowUnsafeMalformedObjectDeletion, true)
			storagetesting.RunTestDeleteExpectedTransformOrDecodeError(t.Context(), t, f, f.codec.fail.Store)
		},
		"Stats": func(t *testing.T, f *fixture) {
			if err := f.EnableResourceSizeEstimation(f.keys); err != nil {
				t.Fatal(err)
			}
			storagetesting.RunTestStats(t.Context(), t, f, f.codec, f.transformer, true)
		},
	}
	for name, body := range special {
		t.Run(name, func(t *testing.T) {
			if waiting[name] {
				t.Parallel()
			}
			body(t, newFixture(t))
		})
	}
	for _, stream := range []bool{false, true} {
		name := map[bool]string{false: " paged", true: " streamed"}[stream]
		t.Run("List"+name, func(t *testing.T) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EtcdRangeStream, stream)
			f := newFixture(t)
			storagetesting.RunTestList(t.Context(), t, f, f.compact, false, f.lists)
		})
		t.Run("ConsistentList"+name, func(t *testing.T) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EtcdRangeStream, stream)
			f := newFixture(t)
			storagetesting.RunTestConsistentList(t.Context(), t, f, f.raiseRevision, false, true, false)
		})
		t.Run("WatchList"+name, func(t *testing.T) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EtcdRangeStream, stream)
			storagetesting.RunWatchSemantics(t.Context(), t, newFixture(t))
			storagetesting.RunWatchSemanticInitialEventsExtended(t.Context(), t, newFixture(t))
			storagetesting.RunWatchListMatchSingle(t.Context(), t, newFixture(t))
			storagetesting.RunWatchErrorIsBlockingFurtherEvents(t.Context(), t, newFixture(t))
		})
	}
}

// askForProgress does what the watch cache does when it waits for a revision; the store has no clock of its own.
func (f *fixture) askForProgress(t *testing.T) {
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				_ = f.RequestWatchProgress(context.Background())
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}
