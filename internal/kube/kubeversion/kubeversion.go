// Package kubeversion tells Kubernetes' own packages which version they are. Built as a dependency,
// k8s.io/component-base/version holds an unfilled template, and `kubectl version`, the emulation version and every
// feature gate's default follow from it.
//
// The package imports nothing but component-base/version, and its path sorts before k8s.io/: package initialisation goes
// by import path, and the registry of effective versions reads the version in an init of its own.
package kubeversion

import (
	"fmt"
	"strings"
	_ "unsafe" // go:linkname

	"k8s.io/component-base/version"
)

// Kubernetes is the version of k8s.io/kubernetes in go.mod, which a test compares. Build information would tell it too,
// but test binaries carry none.
const Kubernetes = "v1.37.1"

//go:linkname gitVersion k8s.io/component-base/version.gitVersion
var gitVersion string

//go:linkname gitMajor k8s.io/component-base/version.gitMajor
var gitMajor string

//go:linkname gitMinor k8s.io/component-base/version.gitMinor
var gitMinor string

//go:linkname gitCommit k8s.io/component-base/version.gitCommit
var gitCommit string

//go:linkname gitTreeState k8s.io/component-base/version.gitTreeState
var gitTreeState string

func init() {
	parts := strings.SplitN(strings.TrimPrefix(Kubernetes, "v"), ".", 3)
	gitVersion, gitMajor, gitMinor = Kubernetes, parts[0], parts[1]
	gitCommit, gitTreeState = "", ""
	if err := version.SetDynamicVersion(Kubernetes); err != nil {
		panic(fmt.Sprintf("kubeversion: %v", err))
	}
}

// String is the Kubernetes version this program is built with, such as v1.37.1.
func String() string { return version.Get().GitVersion }
