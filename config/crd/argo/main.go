// Command argo makes the definitions of the kinds of argoproj.io from the peer's Go types: controller-gen's output, and on
// top of it what Argo Rollouts' own definitions have (schemas of template metadata, room for numbers where quantities are
// meant), what later versions of its API have (status.duration), and what YAML of 2019 has (steps beside the canary).
//
// It writes two sets: one with the whole schema of pods, and in a folder beside it one (as JSON, which is read faster) that
// knows of pods only what is needed to fill in defaults and to merge lists by name: a small part of the memory in an API
// server.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	generator = "sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0"
	types     = "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: argo DIRECTORY SMALL-DIRECTORY")
	}
	if err := generate(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func generate(whole, small string) error {
	tmp, err := os.MkdirTemp("", "crd-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	c := exec.Command("go", "run", generator, "crd:crdVersions=v1,maxDescLen=0,allowDangerousTypes=true", "paths="+types, "output:crd:dir="+tmp)
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("controller-gen: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(tmp, "*.yaml"))
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var def map[string]any
		if err := yaml.Unmarshal(b, &def); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if err := finish(def); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if b, err = yaml.Marshal(def); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(whole, filepath.Base(f)), append([]byte("---\n"), b...), 0o644); err != nil {
			return err
		}
		if err := shrink(def); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if b, err = json.Marshal(def); err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(f), ".yaml") + ".json"
		if err := os.WriteFile(filepath.Join(small, name), append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}
