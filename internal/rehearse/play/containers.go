package play

import (
	"bytes"
	"fmt"
	"sort"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
)

// rules are what containers do in this run: Programs, known images and commands that were read.
func (r *run) rules() (*program.Rules, error) {
	rules := &program.Rules{Defaults: program.DefaultsRehearsal(), FailUnmodelled: r.doc.Scenario.Spec.Virtual.Unmodelled == "fail", Service: r.serviceModel}
	rules, bad := rules.With(r.doc.Programs)
	for _, name := range sortedKeys(bad) {
		return nil, fmt.Errorf("virtual.programs: Program %s: %w", name, bad[name])
	}
	return rules, nil
}

// containers are what the engine asks, with the models of the scenario's services and the annotations of pods over the rules.
func (r *run) containers() (*program.Book, error) {
	rules, err := r.rules()
	if err != nil {
		return nil, err
	}
	return program.NewBook(rules), nil
}

// programs is what Programs say of requests; nil without any.
func (r *run) programs() (func(string, *corev1.PodTemplateSpec, *corev1.Container) *v1alpha1.ServiceModel, error) {
	if len(r.doc.Programs) == 0 {
		return nil, nil
	}
	rules, err := r.rules()
	if err != nil {
		return nil, err
	}
	return func(namespace string, t *corev1.PodTemplateSpec, c *corev1.Container) *v1alpha1.ServiceModel {
		pod := &corev1.Pod{ObjectMeta: *t.ObjectMeta.DeepCopy(), Spec: t.Spec}
		pod.Namespace = namespace
		return rules.Model(&program.Question{Pod: pod, Container: c})
	}, nil
}

// serviceModel is the model of the service that a container belongs to, as far as containers that serve are concerned.
func (r *run) serviceModel(q *program.Question) *v1alpha1.ServiceModel {
	if q.Init || q.Pod.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		return nil
	}
	m := &r.topology.Entries[r.topology.ServiceOf(q.Pod, r.cluster.ownerOf(q.Pod))].Model
	if m.Ready == nil && m.Stop == nil && m.Crash == nil {
		return nil
	}
	return &v1alpha1.ServiceModel{Ready: m.Ready, Stop: m.Stop, Crash: m.Crash}
}

// images are what pulls cost: by Programs and annotations first, then by the most specific entry of cluster.images.
func (r *run) images(book *program.Book) virtual.ImageModel {
	c := &r.doc.Scenario.Spec.Cluster
	globs := make([]string, 0, len(c.Images))
	for g := range c.Images {
		globs = append(globs, g)
	}
	sort.Slice(globs, func(i, j int) bool {
		a, b := globs[i], globs[j]
		return len(a) > len(b) || len(a) == len(b) && a < b
	})
	m := virtual.ImageModel{PullsPerNode: c.Registry.PerIP, Facts: func(pod *corev1.Pod, container *corev1.Container) virtual.ImageFacts {
		f := book.ImageFacts(pod, container)
		if f.SizeBytes != 0 {
			return f
		}
		for _, g := range globs {
			if !program.Glob(g, container.Image) {
				continue
			}
			if i := c.Images[g]; i.Size != nil {
				f.SizeBytes = i.Size.Value()
			} else if i.Pull != nil {
				f.Pull = spread(i.Pull)
			}
			break
		}
		return f
	}}
	if c.Registry.PullsPerHour != nil {
		m.PullsPerHour = int(*c.Registry.PullsPerHour)
	}
	return m
}

// storage says whether this run plays storage, and whether it must bring a default class of its own. Without claims it
// does neither: a class is a write, and the controllers would have work.
func (r *run) storage() (provisioners []string, class bool) {
	claims, own := false, false
	look := func(o []byte) {
		claims = claims || bytes.Contains(o, []byte("PersistentVolumeClaim")) || bytes.Contains(o, []byte("volumeClaimTemplate"))
		own = own || bytes.Contains(o, []byte("StorageClass")) && bytes.Contains(o, []byte("is-default-class"))
	}
	for _, o := range r.doc.Objects {
		look(o.Object)
	}
	for i := range r.doc.Scenario.Spec.Steps {
		for _, a := range r.doc.Scenario.Spec.Steps[i].Apply {
			look(a.Object)
		}
	}
	if !claims {
		return nil, false
	}
	return []string{"*"}, !own
}

// cheapest is the index among names of the route that costs the least CPU, the first of equals.
func cheapest(names []string, routes []string, cost func(route int) float64) int {
	best, least := 0, 0.0
	for i, name := range names {
		for k, r := range routes {
			if r == name {
				if c := cost(k); i == 0 || c < least {
					best, least = i, c
				}
			}
		}
	}
	return best
}
