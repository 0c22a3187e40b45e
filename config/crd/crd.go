// Package crd carries the definitions of the kinds Fairway adds to an API server, generated from api/.
package crd

import "embed"

// Files holds one CustomResourceDefinition a file.
//
//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object crd:allowDangerousTypes=true paths=../../api/v1alpha1 output:crd:dir=. output:object:dir=../../api/v1alpha1
//go:embed *.yaml
var Files embed.FS
