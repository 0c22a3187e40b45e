package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"

	"github.com/fairway-dev/fairway/config/crd"
)

// establishedWithin bounds the wait for a new kind to be served.
const establishedWithin = 15 * time.Second

// installation says how definitions are put into a cluster.
type installation struct {
	on      []Capability
	small   bool // leaves out the schemas of pod templates
	replace bool // takes definitions from whoever put them there
	log     *slog.Logger
	began   func(name string) bool // the store began with it; nil = with none
}

// installCRDs applies the definitions of the capabilities that are on, but for those with which the store began, and waits until
// the API server serves them. What somebody else put there stays as it is, see judgeCRD.
func installCRDs(ctx context.Context, cfg *rest.Config, in installation) error {
	var wanted []string
	for _, c := range in.on {
		wanted = append(wanted, c.CRDs...)
	}
	if len(wanted) == 0 {
		return nil
	}
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType = "application/json" // server-side apply takes JSON or YAML
	client, err := apiextensions.NewForConfig(cfg)
	if err != nil {
		return err
	}
	installs := make([]func() error, len(wanted))
	for i, name := range wanted {
		installs[i] = func() error {
			var err error
			if in.began == nil || !in.began(name) {
				err = in.installCRD(ctx, client, name)
			}
			if err == nil {
				err = awaitWatchable(ctx, client.RESTClient(), name)
			}
			if err != nil {
				return fmt.Errorf("installing the definition of %s: %w", name, err)
			}
			return nil
		}
	}
	return parallel(installs...)
}

// storedDefinitions are those with which a store of this program's own cluster begins, by name.
func storedDefinitions(on []Capability) (map[string][]byte, error) {
	all := map[string][]byte{}
	made := time.Now()
	for _, c := range on {
		for _, name := range c.CRDs {
			b, err := crd.Stored(name, uuid.NewUUID(), made)
			if err != nil {
				return nil, err
			}
			if b != nil {
				all[name] = b
			}
		}
	}
	return all, nil
}

// installCRD puts one definition in its place, unless there is one that stays.
func (in installation) installCRD(ctx context.Context, client *apiextensions.ApiextensionsV1Client, name string) error {
	body, err := crd.Definition(name, in.small)
	if err != nil {
		return err
	}
	want := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal(body, want); err != nil {
		return err
	}
	crds := client.CustomResourceDefinitions()
	have, err := crds.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return err
	default:
		stays, err := judgeCRD(have, want, in.replace)
		if err != nil {
			return err
		}
		if stays != "" {
			in.log.Info("the definition stays as it is", "definition", want.Name, "why", stays)
			return awaitEstablished(ctx, crds, have)
		}
		if holds(have, want) {
			return awaitEstablished(ctx, crds, have)
		}
	}
	got, err := crds.Patch(ctx, want.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: FieldManager, Force: &in.replace})
	if apierrors.IsConflict(err) && have != nil && have.Name != "" {
		in.log.Warn("the definition stays as it is", "definition", want.Name, "why", "others have changed it: "+err.Error()+"; "+replacing)
		return awaitEstablished(ctx, crds, have)
	}
	if err != nil {
		return err
	}
	return awaitEstablished(ctx, crds, got)
}

func awaitEstablished(ctx context.Context, crds apiextensions.CustomResourceDefinitionInterface, got *apiextensionsv1.CustomResourceDefinition) error {
	if established(got) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, establishedWithin)
	defer cancel()
	w, err := crds.Watch(ctx, metav1.SingleObject(metav1.ObjectMeta{Name: got.Name, ResourceVersion: got.ResourceVersion}))
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case ev, ok := <-w.ResultChan():
			if !ok {
				return fmt.Errorf("the watch ended before the API server served it: %w", context.Cause(ctx))
			}
			if st, failed := ev.Object.(*metav1.Status); failed {
				return apierrors.FromObject(st)
			}
			if def, ok := ev.Object.(*apiextensionsv1.CustomResourceDefinition); ok && established(def) {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("the API server does not serve it yet: %w", context.Cause(ctx))
		}
	}
}

// watchableEvery is how often a new kind's watch is tried: the API server fills its cache in some milliseconds, but tells
// clients to come back after a second.
const watchableEvery = 2 * time.Millisecond

// awaitWatchable waits until the API server answers watches of the kind, so that the first informer need not wait.
func awaitWatchable(ctx context.Context, client rest.Interface, name string) error {
	def, err := crd.ShapeOf(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, establishedWithin)
	defer cancel()
	t := time.NewTicker(watchableEvery)
	defer t.Stop()
	for {
		body, err := client.Get().AbsPath("/apis", def.Spec.Group, def.Spec.Versions[0].Name, def.Spec.Names.Plural).
			Param("watch", "true").MaxRetries(0).Stream(ctx)
		if err == nil {
			return body.Close()
		}
		if !apierrors.IsTooManyRequests(err) && !apierrors.IsNotFound(err) && !apierrors.IsServiceUnavailable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not serve watches of it yet: %w", context.Cause(ctx))
		case <-t.C:
		}
	}
}

func established(c *apiextensionsv1.CustomResourceDefinition) bool {
	for _, cond := range c.Status.Conditions {
		if cond.Type == apiextensionsv1.Established {
			return cond.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}
