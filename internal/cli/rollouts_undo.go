package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rolloutview/change"
)

// imageAttempts bounds how often an image is set anew when others write the same object meanwhile.
const imageAttempts = 5

func (o *operator) undoCommand() *cobra.Command {
	var revision int64
	c := &cobra.Command{
		Use:   "undo ROLLOUT",
		Short: "Put an older version back into the spec",
		Long: `Put the pod template of an older revision back into the spec, or into the workload that workloadRef names. "get rollout" and
"kubectl describe" show the revisions there are.`,
		Example:           o.examples("undo web", "undo web --to-revision 3"),
		Args:              names("the Rollout's name", 1, 1),
		ValidArgsFunction: o.complete(aRollout),
		RunE: func(c *cobra.Command, args []string) error {
			if revision < 0 {
				return usage(fmt.Errorf("--to-revision %d: revisions begin at 1; 0 is the one before the present", revision))
			}
			return o.each(c.Context(), aRollout, args, func(ctx context.Context, api client.WithWatch, key client.ObjectKey) error {
				return o.undo(ctx, api, key, revision)
			})
		},
	}
	c.Flags().Int64Var(&revision, "to-revision", 0, "the revision; 0 is the one before the present")
	return c
}

func (o *operator) undo(ctx context.Context, api client.WithWatch, key client.ObjectKey, wanted int64) error {
	ro := &rollouts.Rollout{}
	if err := api.Get(ctx, key, ro); err != nil {
		return err
	}
	var sets appsv1.ReplicaSetList
	if err := api.List(ctx, &sets, client.InNamespace(key.Namespace)); err != nil {
		return fmt.Errorf("listing ReplicaSets: %w", err)
	}
	rs, revision, err := change.Revision(ro, sets.Items, wanted)
	if err != nil {
		return err
	}
	of, err := templateOwner(ctx, api, ro)
	if err != nil {
		return err
	}
	path := change.TemplatePath(of.GetKind())
	present := &corev1.PodTemplateSpec{}
	fields, _, err := unstructured.NestedMap(of.Object, path...)
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, present); err != nil {
		return fmt.Errorf("reading the present template: %w", err)
	}
	patch, err := change.Undo(present, rs, "/"+strings.Join(path, "/"))
	if err != nil {
		return err
	}
	if patch == nil {
		fmt.Fprintf(o.Out, "skipped rollback (current template already matches revision %d)\n", revision)
		return nil
	}
	if err := api.Patch(ctx, of, client.RawPatch(change.UndoType, patch)); err != nil {
		return fmt.Errorf("putting revision %d into %s %s: %w", revision, strings.ToLower(of.GetKind()), of.GetName(), err)
	}
	fmt.Fprintf(o.Out, "rollout '%s' undo\n", key.Name)
	return nil
}

// templateOwner is the object that has a Rollout's pod template: itself, or what workloadRef names.
func templateOwner(ctx context.Context, api client.Reader, ro *rollouts.Rollout) (*unstructured.Unstructured, error) {
	of := &unstructured.Unstructured{}
	of.SetGroupVersionKind(rollouts.GroupVersion.WithKind("Rollout"))
	name := ro.Name
	if ref := ro.Spec.WorkloadRef; ref != nil {
		of.SetGroupVersionKind(schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind))
		switch ref.Kind {
		case "Deployment", "ReplicaSet", "PodTemplate":
		default:
			return nil, fmt.Errorf("spec.workloadRef.kind is %s; it may be Deployment, ReplicaSet or PodTemplate", ref.Kind)
		}
		name = ref.Name
	}
	if err := api.Get(ctx, client.ObjectKey{Namespace: ro.Namespace, Name: name}, of); err != nil {
		if apierrors.IsNotFound(err) && ro.Spec.WorkloadRef != nil {
			return nil, fmt.Errorf("spec.workloadRef names %s %s, which does not exist; create it, or correct workloadRef", ro.Spec.WorkloadRef.Kind, name)
		}
		return nil, err
	}
	return of, nil
}

func (o *operator) setCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "set image ROLLOUT CONTAINER=IMAGE…",
		Short:   "Give a Rollout's containers other images",
		Example: o.examples("set image web app=example.com/web:2"),
		Args:    names("what to set: image", 1, 0),
		RunE: func(c *cobra.Command, args []string) error {
			return usage(fmt.Errorf("%s: %q cannot be set; only image can", c.CommandPath(), args[0]))
		},
	}
	c.AddCommand(&cobra.Command{
		Use:               "image ROLLOUT CONTAINER=IMAGE…",
		Short:             "Give containers other images: an update begins",
		Long:              "Give containers of the pod template other images, init and ephemeral containers among them; * is every container. With\nworkloadRef the workload it names is changed.",
		Example:           o.examples("set image web app=example.com/web:2", "set image web '*=example.com/web:2'"),
		Args:              names("the Rollout's name and CONTAINER=IMAGE", 2, 0),
		ValidArgsFunction: o.complete(aRollout),
		RunE: func(c *cobra.Command, args []string) error {
			for _, pair := range args[1:] {
				if container, image, ok := strings.Cut(pair, "="); !ok || container == "" || image == "" {
					return usage(fmt.Errorf("%q is not CONTAINER=IMAGE, for example app=example.com/web:2", pair))
				}
			}
			return o.each(c.Context(), aRollout, args[:1], func(ctx context.Context, api client.WithWatch, key client.ObjectKey) error {
				return o.setImages(ctx, api, key, args[1:])
			})
		},
	})
	return c
}

func (o *operator) setImages(ctx context.Context, api client.WithWatch, key client.ObjectKey, pairs []string) error {
	for attempt := 1; ; attempt++ {
		ro := &rollouts.Rollout{}
		if err := api.Get(ctx, key, ro); err != nil {
			return err
		}
		of, err := templateOwner(ctx, api, ro)
		if err != nil {
			return err
		}
		for _, pair := range pairs {
			container, image, _ := strings.Cut(pair, "=")
			if err := change.SetImage(of, container, image); err != nil {
				return err
			}
		}
		switch err := api.Update(ctx, of); {
		case apierrors.IsConflict(err) && attempt < imageAttempts:
			continue
		case err != nil:
			return err
		}
		fmt.Fprintf(o.Out, "%s \"%s\" image updated\n", strings.ToLower(of.GetKind()), of.GetName())
		return nil
	}
}
