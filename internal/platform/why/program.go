package why

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
)

// played adds which rule says what each container of a pod without a machine does. Rules that were given to the process as
// files or flags are not in the API and go before these.
func (a *Answer) played(ctx context.Context, c client.Reader, pod *corev1.Pod) error {
	var list fairway.ProgramList
	switch err := c.List(ctx, &list); {
	case apierrors.IsForbidden(err):
		a.saw("virtual containers", "what they do is not known: %v", err)
		return nil
	case err != nil && !meta.IsNoMatchError(err):
		return fmt.Errorf("reading the Programs: %w", err)
	}
	slices.SortFunc(list.Items, func(x, y fairway.Program) int { return strings.Compare(x.Name, y.Name) })
	programs := make([]*fairway.Program, len(list.Items))
	for i := range list.Items {
		programs[i] = &list.Items[i]
	}
	rules, _ := (&program.Rules{Defaults: program.DefaultsUp()}).With(programs)
	say := func(container *corev1.Container, init bool) {
		choice := program.Choose(program.Question{Pod: pod, Container: container, Init: init}, rules)
		detail := choice.Why
		if choice.Unmodelled != "" {
			detail += ": " + choice.Unmodelled
		}
		a.saw("virtual container "+container.Name, "%s", detail)
	}
	for i := range pod.Spec.InitContainers {
		init := &pod.Spec.InitContainers[i]
		say(init, init.RestartPolicy == nil || *init.RestartPolicy != corev1.ContainerRestartPolicyAlways)
	}
	for i := range pod.Spec.Containers {
		say(&pod.Spec.Containers[i], false)
	}
	return nil
}
