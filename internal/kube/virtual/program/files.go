package program

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Entry is one entry of a Secret or a ConfigMap that a file in a container shows.
type Entry struct {
	Secret bool   // else it is a ConfigMap
	Name   string // in the pod's namespace
	Key    string
}

// EntryOf returns where a file of a container comes from: by the mount that is the longest prefix of its path, of a volume
// made of Secrets and ConfigMaps. It reports false for every other file.
func EntryOf(pod *corev1.Pod, container *corev1.Container, file string) (Entry, bool) {
	file = path.Clean(file)
	var mount *corev1.VolumeMount
	for i := range container.VolumeMounts {
		m := &container.VolumeMounts[i]
		at := path.Clean(m.MountPath)
		if (file == at || strings.HasPrefix(file, strings.TrimSuffix(at, "/")+"/")) && (mount == nil || len(at) > len(path.Clean(mount.MountPath))) {
			mount = m
		}
	}
	if mount == nil {
		return Entry{}, false
	}
	rest := path.Join(mount.SubPath, strings.TrimPrefix(strings.TrimPrefix(file, path.Clean(mount.MountPath)), "/"))
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Name == mount.Name {
			return sourceIn(v, rest)
		}
	}
	return Entry{}, false
}

// sourceIn finds a file in a volume.
func sourceIn(v *corev1.Volume, file string) (Entry, bool) {
	switch {
	case v.Secret != nil:
		key, ok := keyOf(v.Secret.Items, file)
		return Entry{true, v.Secret.SecretName, key}, ok
	case v.ConfigMap != nil:
		key, ok := keyOf(v.ConfigMap.Items, file)
		return Entry{false, v.ConfigMap.Name, key}, ok
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				if key, ok := keyOf(s.Secret.Items, file); ok {
					return Entry{true, s.Secret.Name, key}, true
				}
			}
			if s.ConfigMap != nil {
				if key, ok := keyOf(s.ConfigMap.Items, file); ok {
					return Entry{false, s.ConfigMap.Name, key}, true
				}
			}
		}
	}
	return Entry{}, false
}

// keyOf is the key behind a file: all keys are files by their names, unless items says which are, and where.
func keyOf(items []corev1.KeyToPath, file string) (string, bool) {
	if len(items) == 0 {
		return file, file != "" && !strings.Contains(file, "/")
	}
	for _, item := range items {
		if path.Clean(item.Path) == file {
			return item.Key, true
		}
	}
	return "", false
}

// files reads the files of a container's volumes.
func (b *Book) files(pod *corev1.Pod, c *corev1.Container) func(string) ([]byte, error) {
	return func(file string) ([]byte, error) {
		source, ok := EntryOf(pod, c, file)
		if !ok || b.Read == nil {
			return nil, fmt.Errorf("%s: no volume made of a Secret or a ConfigMap has this file", file)
		}
		return b.Read(pod.Namespace, source)
	}
}
