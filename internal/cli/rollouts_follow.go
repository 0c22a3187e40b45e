package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/term"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// quiet is done once: the cache's library complains where nobody has said what to do with its log.
var quiet sync.Once

// news are objects of a namespace, kept as the API server tells of them, and word of every change.
type news struct {
	client.Reader
	changed chan struct{} // holds at most one word: that something has changed
	failed  chan error
	stop    func()
}

// follow objects of some kinds, watched and not polled. It ends with the context or by stop.
func (o *operator) follow(ctx context.Context, k rolloutKind, objs ...client.Object) (*news, string, error) {
	cfg, namespace, err := o.config()
	if err != nil {
		return nil, "", err
	}
	n, err := followIn(ctx, cfg, namespace, func(err error) error { return o.explain(err, k, client.ObjectKey{Namespace: namespace}) }, objs...)
	return n, namespace, err
}

func followIn(ctx context.Context, cfg *rest.Config, namespace string, explain func(error) error, objs ...client.Object) (*news, error) {
	quiet.Do(func() { ctrllog.SetLogger(logr.Discard()) })
	n := &news{changed: make(chan struct{}, 1), failed: make(chan error, 1)}
	opts := ctrlcache.Options{Scheme: scheme(), ByObject: map[client.Object]ctrlcache.ByObject{
		&appsv1.ReplicaSet{}: {Label: hashed()}, &corev1.Pod{}: {Label: hashed()}},
		DefaultWatchErrorHandler: func(_ context.Context, _ *toolscache.Reflector, err error) {
			if hopeless(err) {
				n.fail(explain(err))
			}
		}}
	if namespace != "" {
		opts.DefaultNamespaces = map[string]ctrlcache.Config{namespace: {}}
	}
	cache, err := ctrlcache.New(cfg, opts)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", cfg.Host, err)
	}
	n.Reader = cache
	word := toolscache.ResourceEventHandlerFuncs{AddFunc: func(any) { n.tell() }, UpdateFunc: func(any, any) { n.tell() }, DeleteFunc: func(any) { n.tell() }}
	for _, obj := range objs {
		informer, err := cache.GetInformer(ctx, obj, ctrlcache.BlockUntilSynced(false))
		if err != nil {
			return nil, explain(err)
		}
		if _, err := informer.AddEventHandler(word); err != nil {
			return nil, err
		}
	}
	running, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		if err := cache.Start(running); err != nil {
			n.fail(err)
		}
	})
	n.stop = func() { cancel(); done.Wait() }
	return n, n.synced(ctx, cache)
}

// synced waits until everything there is has been read.
func (n *news) synced(ctx context.Context, cache ctrlcache.Cache) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askWithin, errors.New("the API server did not answer within "+askWithin.String()))
	defer cancel()
	synced := make(chan bool, 1)
	go func() { synced <- cache.WaitForCacheSync(ctx) }() // ends with ctx
	var err error
	select {
	case ok := <-synced:
		if !ok {
			err = context.Cause(ctx)
		}
	case err = <-n.failed:
	}
	if err != nil {
		n.stop()
	}
	return err
}

func hashed() labels.Selector {
	r, err := labels.NewRequirement(rollout.HashLabel, selection.Exists, nil)
	if err != nil {
		panic(err) // the label is a constant
	}
	return labels.NewSelector().Add(*r)
}

// fail ends the following with the first error.
func (n *news) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// tell of a change.
func (n *news) tell() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// wait for a change, for a tick, or for the end. After a change it lets more of them come for a while.
func (n *news) wait(ctx context.Context, tick <-chan time.Time, gather time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-n.failed:
		return err
	case <-tick:
		return nil
	case <-n.changed:
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(gather):
	}
	select {
	case <-n.changed:
	default:
	}
	return nil
}

// hopeless is an error that trying again will not mend.
func hopeless(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
