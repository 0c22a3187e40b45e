// Package crd carries the definitions of the kinds Fairway adds to an API server: its own, generated from api/, those of
// argoproj.io, generated from Argo Rollouts' Go types, and those of the Gateway API, taken from its module.
package crd

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// files holds one CustomResourceDefinition a file, named group_plural; in small/ are those with less of a schema, in gateway/
// those of the Gateway API, in stored/ what an API server makes of each, see Stored. The last are written by
// `go test ./internal/platform -run WholeCluster -update-stored`.
//
//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object crd:allowDangerousTypes=true paths=../../api/v1alpha1 output:crd:dir=. output:object:dir=../../api/v1alpha1
//go:generate go run ./argo . small
//go:generate go run ./gateway gateway
//go:embed *.yaml small/*.json gateway/*.json stored/*.json
var files embed.FS

// Definition is the JSON of a definition by its name, plural.group. With small it is the form that leaves out the schema of
// pod templates, where there is one: it costs an API server less memory, and lets pass what it does not know.
func Definition(name string, small bool) ([]byte, error) {
	file, err := fileOf(name)
	if err != nil {
		return nil, err
	}
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

// fileOf a definition, by its name.
func fileOf(name string) (string, error) {
	plural, group, ok := strings.Cut(name, ".")
	if !ok {
		return "", fmt.Errorf("%q is no name of a definition; write plural.group", name)
	}
	return group + "_" + plural, nil
}

// Shape is what somebody who asks for objects needs to know of their definition.
type Shape struct {
	Spec struct {
		Group    string                                        `json:"group"`
		Scope    apiextensionsv1.ResourceScope                 `json:"scope"`
		Names    apiextensionsv1.CustomResourceDefinitionNames `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Served bool   `json:"served"`
		} `json:"versions"`
	} `json:"spec"`
}

// ShapeOf the definition of a name.
func ShapeOf(name string) (*Shape, error) {
	file, err := fileOf(name)
	if err != nil {
		return nil, err
	}
	b, err := files.ReadFile("stored/" + file + ".json") // needs no conversion from YAML
	if errors.Is(err, fs.ErrNotExist) {
		b, err = Definition(name, true)
	}
	if err != nil {
		return nil, err
	}
	out := &Shape{}
	return out, json.Unmarshal(b, out)
}

// Kept is a definition as an API server has it once it is served. Its store may have it in another version of the API, and takes
// it in this one.
type Kept struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              json.RawMessage                                `json:"spec"`
	Status            apiextensionsv1.CustomResourceDefinitionStatus `json:"status"`
}

// date all that has a time in a definition.
func (k *Kept) date(made metav1.Time) {
	k.CreationTimestamp = made
	for i := range k.ManagedFields {
		k.ManagedFields[i].Time = &made
	}
	for i := range k.Status.Conditions {
		k.Status.Conditions[i].LastTransitionTime = made
	}
}

// Stored is what an API server keeps in its store once Definition(name, true) is applied and served, with the given UID and
// time: a store that begins with it needs neither be sent the definition nor go through it several times. nil when there is
// none.
func Stored(name string, uid types.UID, made time.Time) ([]byte, error) {
	file, err := fileOf(name)
	if err != nil {
		return nil, err
	}
	b, err := files.ReadFile("stored/" + file + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var def Kept
	if err := json.Unmarshal(b, &def); err != nil {
		return nil, fmt.Errorf("stored/%s.json: %w", file, err)
	}
	def.UID = uid
	def.date(metav1.Time{Time: made})
	return json.Marshal(def)
}

// KeepAs is the file, below this folder, and the text by which Stored knows a definition that an API server has in its store.
func KeepAs(def Kept) (file string, text []byte, err error) {
	if file, err = fileOf(def.Name); err != nil {
		return "", nil, err
	}
	def.UID, def.ResourceVersion, def.Generation = "", "", 1
	for i := range def.ManagedFields {
		if m := &def.ManagedFields[i]; m.Subresource == "status" {
			m.Manager = "kube-apiserver" // and not the program it is part of
		}
	}
	def.date(metav1.Time{})
	text, err = json.Marshal(def)
	return "stored/" + file + ".json", append(text, '\n'), err
}
