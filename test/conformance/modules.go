//go:build conformance_modules

// This file is never compiled. It keeps the modules of the end-to-end tests in go.mod, since
// `go mod tidy` reads every build tag, while `go vet ./...` and `go test ./...` need not compile those tests.
package main

import (
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/e2e/apimachinery"
	_ "k8s.io/kubernetes/test/e2e/dra"
	_ "k8s.io/kubernetes/test/e2e/storage"
	_ "k8s.io/kubernetes/test/e2e/windows"
)
