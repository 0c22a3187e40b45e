// Package crd carries the definitions of the kinds Fairway adds to an API server: its own, generated from api/, those of
// argoproj.io, generated from Argo Rollouts' Go types, and those of the Gateway API, taken from its module.
package crd

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"sigs.k8s.io/yaml"
)

// files holds one CustomResourceDefinition a file, named group_plural; in small/ are those with less of a schema, in gateway/
// those of the Gateway API.
//
//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object crd:allowDangerousTypes=true paths=../../api/v1alpha1 output:crd:dir=. output:object:dir=../../api/v1alpha1
//go:generate go run ./argo . small
//go:generate go run ./gateway gateway
//go:embed *.yaml small/*.json gateway/*.json
var files embed.FS

// Definition is the JSON of a definition by its name, plural.group. With small it is the form that leaves out the schema of
// pod templates, where there is one: it costs an API server less memory, and lets pass what it does not know.
func Definition(name string, small bool) ([]byte, error) {
	plural, group, ok := strings.Cut(name, ".")
	if !ok {
		return nil, fmt.Errorf("%q is no name of a definition; write plural.group", name)
	}
	file := group + "_" + plural
	folders := []string{"gateway/"}
	if small {
		folders = append(folders, "small/")
	}
	for _, folder := range folders {
		b, err := files.ReadFile(folder + file + ".json")
		if !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	b, err := files.ReadFile(file + ".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this program carries no definition of %s", name)
	}
	if err != nil {
		return nil, err
	}
	return yaml.YAMLToJSON(b)
}
