package virtual

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// subPathError is the kubelet's refusal of a volume mount whose subPath leads nowhere: a variable of subPathExpr without
// a value, an absolute path, or one that leaves the volume.
func (a around) subPathError(pod *v1.Pod, c *v1.Container) string {
	var env map[string]string
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		sub := m.SubPath
		if m.SubPathExpr != "" {
			if env == nil {
				env = a.environment(pod, c)
			}
			var unset []string
			sub = expansion.Expand(m.SubPathExpr, func(name string) string {
				if env[name] == "" && !slices.Contains(unset, name) {
					unset = append(unset, name)
				}
				return env[name]
			})
			if len(unset) > 0 {
				slices.Sort(unset)
				return "missing value for " + strings.Join(unset, ", ")
			}
		}
		switch {
		case sub == "":
		case filepath.IsAbs(sub):
			return fmt.Sprintf("error SubPath `%s` must not be an absolute path", sub)
		case slices.Contains(strings.Split(sub, "/"), ".."):
			return fmt.Sprintf("unable to provision SubPath `%s`: must not contain '..'", sub)
		}
	}
	return ""
}

// environment is what the container's variables hold, as far as its spec sets them: those of services and of the image
// are not among them. A later variable wins, and may name earlier ones.
func (a around) environment(pod *v1.Pod, c *v1.Container) map[string]string {
	env := map[string]string{}
	for i := range c.EnvFrom {
		f := &c.EnvFrom[i]
		if r := f.ConfigMapRef; r != nil {
			if m, err := a.e.configMaps.ConfigMaps(pod.Namespace).Get(r.Name); err == nil {
				for k, v := range m.Data {
					env[f.Prefix+k] = v
				}
			}
		}
		if r := f.SecretRef; r != nil {
			if s, err := a.e.secrets.Secrets(pod.Namespace).Get(r.Name); err == nil {
				for k, v := range s.Data {
					env[f.Prefix+k] = string(v)
				}
			}
		}
	}
	mapping := expansion.MappingFuncFor(env)
	for i := range c.Env {
		if v := &c.Env[i]; v.ValueFrom == nil {
			env[v.Name] = expansion.Expand(v.Value, mapping)
		} else {
			env[v.Name] = a.referred(pod, c, v.ValueFrom)
		}
	}
	return env
}

// referred is the value that a variable takes from elsewhere; "" when it is not there.
func (a around) referred(pod *v1.Pod, c *v1.Container, from *v1.EnvVarSource) string {
	switch {
	case from.ConfigMapKeyRef != nil:
		if m, err := a.e.configMaps.ConfigMaps(pod.Namespace).Get(from.ConfigMapKeyRef.Name); err == nil {
			return m.Data[from.ConfigMapKeyRef.Key]
		}
	case from.SecretKeyRef != nil:
		if s, err := a.e.secrets.Secrets(pod.Namespace).Get(from.SecretKeyRef.Name); err == nil {
			return string(s.Data[from.SecretKeyRef.Key])
		}
	case from.ResourceFieldRef != nil:
		value, err := resource.ExtractContainerResourceValue(from.ResourceFieldRef, c)
		if err == nil {
			return value
		}
	case from.FieldRef != nil:
		return podField(pod, from.FieldRef.FieldPath)
	}
	return ""
}

// podField is a field of the downward API.
func podField(pod *v1.Pod, path string) string {
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName
	case "status.hostIP":
		return pod.Status.HostIP
	case "status.podIP":
		return pod.Status.PodIP
	}
	value, err := fieldpath.ExtractFieldPathAsString(pod, path)
	if err != nil {
		return ""
	}
	return value
}
