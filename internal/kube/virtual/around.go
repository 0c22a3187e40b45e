package virtual

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// around answers DecidePod's questions about one pod from the shared caches and the node's ledgers.
type around struct {
	e *Engine
	r *podRecord
}

// Address implements Surroundings.
func (a around) Address(now time.Time) (string, error) { return a.r.node.ips.allocate(now) }

// missing names the first volume source that does not exist.
func (a around) missing(pod *v1.Pod) string {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		var why string
		switch {
		case v.ConfigMap != nil && !isTrue(v.ConfigMap.Optional):
			why = a.noConfigMap(pod.Namespace, v.ConfigMap.Name)
		case v.Secret != nil && !isTrue(v.Secret.Optional):
			why = a.noSecret(pod.Namespace, v.Secret.SecretName)
		case v.Projected != nil:
			for j := range v.Projected.Sources {
				src := &v.Projected.Sources[j]
				if src.ConfigMap != nil && !isTrue(src.ConfigMap.Optional) && why == "" {
					why = a.noConfigMap(pod.Namespace, src.ConfigMap.Name)
				}
				if src.Secret != nil && !isTrue(src.Secret.Optional) && why == "" {
					why = a.noSecret(pod.Namespace, src.Secret.Name)
				}
				if src.ClusterTrustBundle != nil && why == "" {
					why = a.noTrustBundle(src.ClusterTrustBundle)
				}
			}
		}
		if why != "" {
			a.e.stuck[a.r.key] = a.r
			return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %s", v.Name, why)
		}
	}
	return ""
}

func isTrue(b *bool) bool { return b != nil && *b }

func (a around) noConfigMap(ns, name string) string {
	if _, err := a.e.configMaps.ConfigMaps(ns).Get(name); err != nil {
		return fmt.Sprintf("configmap %q not found", name)
	}
	return ""
}

func (a around) noSecret(ns, name string) string {
	if _, err := a.e.secrets.Secrets(ns).Get(name); err != nil {
		return fmt.Sprintf("secret %q not found", name)
	}
	return ""
}

// ConfigError implements Surroundings: what the environment refers to must exist.
func (a around) ConfigError(pod *v1.Pod, c *v1.Container) string {
	why := a.envError(pod, c)
	if why == "" {
		why = rootError(pod, c)
	}
	if why == "" {
		why = a.subPathError(pod, c)
	}
	if why != "" {
		a.e.stuck[a.r.key] = a.r
	}
	return why
}

func (a around) envError(pod *v1.Pod, c *v1.Container) string {
	for i := range c.EnvFrom {
		f := &c.EnvFrom[i]
		if r := f.ConfigMapRef; r != nil && !isTrue(r.Optional) {
			if why := a.noConfigMap(pod.Namespace, r.Name); why != "" {
				return why
			}
		}
		if r := f.SecretRef; r != nil && !isTrue(r.Optional) {
			if why := a.noSecret(pod.Namespace, r.Name); why != "" {
				return why
			}
		}
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		if r := from.ConfigMapKeyRef; r != nil && !isTrue(r.Optional) {
			m, err := a.e.configMaps.ConfigMaps(pod.Namespace).Get(r.Name)
			if err != nil {
				return fmt.Sprintf("configmap %q not found", r.Name)
			}
			if _, ok := m.Data[r.Key]; !ok {
				return fmt.Sprintf("couldn't find key %v in ConfigMap %v/%v", r.Key, pod.Namespace, r.Name)
			}
		}
		if r := from.SecretKeyRef; r != nil && !isTrue(r.Optional) {
			s, err := a.e.secrets.Secrets(pod.Namespace).Get(r.Name)
			if err != nil {
				return fmt.Sprintf("secret %q not found", r.Name)
			}
			if _, ok := s.Data[r.Key]; !ok {
				return fmt.Sprintf("couldn't find key %v in Secret %v/%v", r.Key, pod.Namespace, r.Name)
			}
		}
	}
	return ""
}

// rootError is the kubelet's refusal to run as root what must not; images are taken to run as root when the pod does
// not say otherwise only if they ask for user 0 explicitly.
func rootError(pod *v1.Pod, c *v1.Container) string {
	var nonRoot *bool
	var uid *int64
	if sc := pod.Spec.SecurityContext; sc != nil {
		nonRoot, uid = sc.RunAsNonRoot, sc.RunAsUser
	}
	if sc := c.SecurityContext; sc != nil {
		if sc.RunAsNonRoot != nil {
			nonRoot = sc.RunAsNonRoot
		}
		if sc.RunAsUser != nil {
			uid = sc.RunAsUser
		}
	}
	if isTrue(nonRoot) && uid != nil && *uid == 0 {
		return "container's runAsUser breaks non-root policy (pod: \"" + pod.Name + "_" + pod.Namespace + "(" + string(pod.UID) + ")\", container: " + c.Name + ")"
	}
	return ""
}

// sourceAppeared lets pods of a namespace ("" = of all) try again that waited for a ConfigMap, Secret or trust bundle. The
// caller holds mu.
func (e *Engine) sourceAppeared(namespace string) {
	now := time.Now()
	for _, key := range sortedKeys(e.stuck) {
		r := e.stuck[key]
		if namespace != "" && key.Namespace != namespace {
			continue
		}
		delete(e.stuck, key)
		if r.gone || r.state == nil {
			continue
		}
		if !r.state.SandboxUp && r.state.SandboxAt.After(now) {
			r.state.SandboxAt = now
		}
		for i := range r.state.Containers {
			if c := &r.state.Containers[i]; c.Run == RunWaiting && c.Wait == reasonConfigError {
				c.Due = now
			}
		}
		e.touch(r)
	}
}

func sortedKeys(m map[types.NamespacedName]*podRecord) []types.NamespacedName {
	out := make([]types.NamespacedName, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sortKeys(out)
	return out
}

// kwokShape is what KWOK gives a node that states no size.
func kwokShape(capacity v1.ResourceList) v1.ResourceList {
	out := v1.ResourceList{v1.ResourceCPU: resource.MustParse("1k"), v1.ResourceMemory: resource.MustParse("1Ti"), v1.ResourcePods: resource.MustParse("1M")}
	for k, v := range capacity {
		out[k] = v
	}
	return out
}
