package play

import (
	"context"
	"errors"
	"fmt"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// restlessEvery is how often a Rollout at rest is written by the break of that name.
const restlessEvery = 7 * time.Minute

// rolloutBreaks act through the API, as broken controllers of Rollouts would, on the first Rollout by name.
var rolloutBreaks = map[string]func(ctx context.Context, k *checker) error{
	PlantStarve: func(ctx context.Context, k *checker) error {
		ro, err := k.ship.first()
		if err != nil {
			return err
		}
		rs := k.ship.withHash(ro, ro.Status.StableRS)
		if rs == nil {
			return fmt.Errorf("Rollout %s has no stable ReplicaSet", key(ro))
		}
		return k.rewrite(ctx, schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"}, rs.is, map[string]any{"spec": map[string]any{"replicas": 0}})
	},
	PlantDeaf: func(ctx context.Context, k *checker) error {
		ro, err := k.ship.first()
		if err != nil {
			return err
		}
		svc := k.ship.services[ro.Namespace+"/"+ro.Spec.Strategy.BlueGreen.ActiveService]
		return k.rewrite(ctx, corev1.SchemeGroupVersion.WithKind("Service"), svc, map[string]any{"spec": map[string]any{"selector": map[string]any{argo.DefaultRolloutUniqueLabelKey: "nobody"}}})
	},
	PlantForget: func(ctx context.Context, k *checker) error {
		ro, err := k.ship.first()
		if err != nil {
			return err
		}
		return k.rewrite(ctx, rolloutGVK, ro, map[string]any{"status": map[string]any{"stableRS": nil}}, "status")
	},
	PlantStorm: func(ctx context.Context, k *checker) error {
		ro, err := k.ship.first()
		for n := 0; n < stormWrites && err == nil; n++ {
			err = k.note(ctx, ro, n)
		}
		return err
	},
	PlantRestless: func(ctx context.Context, k *checker) error {
		ro, err := k.ship.first()
		if err != nil {
			return err
		}
		k.r.background.Go(func() {
			tick := time.NewTicker(restlessEvery)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					k.mu.Lock()
					k.ship.written, k.ship.writtenWhat = time.Now(), "PATCH "+key(ro)
					k.mu.Unlock()
				}
			}
		})
		return nil
	},
}

var rolloutGVK = rollouts.GroupVersion.WithKind(rolloutKind)

// first Rollout by name.
func (c *rolloutCheck) first() (*rollouts.Rollout, error) {
	if c != nil {
		for _, name := range sortedKeys(c.rollouts) {
			return c.rollouts[name].is, nil
		}
	}
	return nil, errors.New("there is no Rollout")
}

func (k *checker) rewrite(ctx context.Context, gvk schema.GroupVersionKind, o metav1.Object, patch map[string]any, sub ...string) error {
	return k.r.applier.patch(ctx, gvk, o.GetNamespace(), o.GetName(), types.MergePatchType, asJSON(patch), sub...)
}

// note something on a Rollout that means nothing.
func (k *checker) note(ctx context.Context, ro *rollouts.Rollout, n int) error {
	return k.rewrite(ctx, rolloutGVK, ro, map[string]any{"metadata": map[string]any{"annotations": map[string]any{"example.invalid/n": fmt.Sprint(n)}}})
}
