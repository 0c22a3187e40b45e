package manifest

import (
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// kustomizationNames are the files that make a directory a kustomization.
var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

func kustomizationIn(dir string) string {
	for _, name := range kustomizationNames {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && !info.IsDir() {
			return name
		}
	}
	return ""
}

func (r *reader) kustomize(path string) {
	file := filepath.Join(path, kustomizationIn(r.full(path)))
	before := len(r.problems)
	r.local(path, 0)
	if len(r.problems) > before {
		return
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), r.full(path))
	if err != nil {
		r.fail(file, 1, "", "kustomize: %s", r.withoutPlace(err.Error()))
		return
	}
	for _, resource := range built.Resources() {
		fields, err := resource.Map()
		if err != nil {
			r.fail(file, 1, "", "kustomize: %s: %v", resource.CurId(), err)
			continue
		}
		data, err := resource.MarshalJSON()
		object := &unstructured.Unstructured{}
		if err == nil {
			err = object.UnmarshalJSON(data)
		}
		if err == nil {
			err = check(fields)
		}
		if err != nil {
			r.fail(file, 1, "", "kustomize: %s: %v", resource.CurId(), err)
			continue
		}
		r.objects = append(r.objects, Object{object, file, 1})
	}
}

// withoutPlace takes the absolute path of the kustomization out of a message, which differs from machine to machine.
func (r *reader) withoutPlace(message string) string {
	if absolute, err := filepath.Abs(r.full(".")); err == nil {
		message = strings.ReplaceAll(message, absolute+string(filepath.Separator), "")
	}
	return message
}

// kustomizeDepthMax bounds bases of bases.
const kustomizeDepthMax = 32

// pathFields are the lists of a kustomization whose entries kustomize would also fetch from elsewhere.
var pathFields = map[string]bool{"resources": true, "bases": true, "components": true, "crds": true, "configurations": true, "generators": true, "transformers": true, "validators": true}

// local makes sure that a kustomization and its bases name only what is on this machine: kustomize would run git or
// fetch a URL for anything else.
func (r *reader) local(path string, depth int) {
	dir := r.full(path)
	name := kustomizationIn(dir)
	if name == "" || depth > kustomizeDepthMax {
		return
	}
	file := filepath.Join(path, name)
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		r.fail(file, 0, "", "cannot be read: %s", reason(err))
		return
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil || len(document.Content) == 0 {
		return // kustomize reports it better
	}
	root := document.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if strings.HasPrefix(key.Value, "helm") {
			r.fail(file, key.Line, "until then render the chart with helm template and list the result", "%s in a kustomization is not built yet", key.Value)
		}
		if !pathFields[key.Value] {
			continue
		}
		for _, entry := range value.Content {
			r.entry(path, file, entry, depth)
		}
	}
}

func (r *reader) entry(path, file string, entry *yaml.Node, depth int) {
	if entry.Kind != yaml.ScalarNode || strings.Contains(entry.Value, "\n") {
		return // written in place
	}
	target := filepath.Join(path, entry.Value)
	info, err := os.Stat(r.full(target))
	switch {
	case err != nil && (strings.Contains(entry.Value, "://") || strings.Contains(entry.Value, "?ref=") || strings.HasPrefix(entry.Value, "git@") || strings.HasPrefix(entry.Value, "github.com/")):
		r.fail(file, entry.Line, "fetch it into a directory and name that", "%q lies elsewhere, and nothing is fetched", entry.Value)
	case err != nil:
		r.fail(file, entry.Line, "check the path; it is relative to the kustomization", "%q cannot be read: %s", entry.Value, reason(err))
	case info.IsDir():
		r.local(target, depth+1)
	}
}
