// Command gateway takes the definitions of the Gateway API from its module, of the version in go.mod: those of the
// experimental channel, which hold the kinds and fields of the standard one too. What is written is JSON, which is read
// faster, and has no descriptions, which an API server would keep in memory; annotations stay, for the bundle's version and
// channel are read by others. The admission policy against changes of the channel is left out.
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

const module = "sigs.k8s.io/gateway-api"

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: gateway DIRECTORY")
	}
	if err := generate(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func generate(to string) error {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return fmt.Errorf("finding the module %s: %w", module, err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "experimental", "*.yaml"))
	if err != nil {
		return err
	}
	written := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var def map[string]any
		if err := yaml.Unmarshal(b, &def); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if def["kind"] != "CustomResourceDefinition" {
			continue
		}
		delete(def, "status")
		if err := undescribe(def); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if b, err = json.Marshal(def); err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(f), ".yaml") + ".json"
		if err := os.WriteFile(filepath.Join(to, name), append(b, '\n'), 0o644); err != nil {
			return err
		}
		written++
	}
	if written == 0 {
		return fmt.Errorf("the module %s has no definitions where they are looked for", module)
	}
	return nil
}

// undescribe drops the descriptions of the schemas of all versions.
func undescribe(def map[string]any) error {
	spec, _ := def["spec"].(map[string]any)
	versions, _ := spec["versions"].([]any)
	for _, v := range versions {
		version, _ := v.(map[string]any)
		schema, _ := version["schema"].(map[string]any)
		root, ok := schema["openAPIV3Schema"].(map[string]any)
		if !ok {
			return fmt.Errorf("version %v has no schema", version["name"])
		}
		dropDescriptions(root)
	}
	return nil
}

// dropDescriptions goes through a schema and those in it. A property may have the name "description": of properties only the
// schemas are looked into.
func dropDescriptions(schema map[string]any) {
	delete(schema, "description")
	if properties, ok := schema["properties"].(map[string]any); ok {
		for _, p := range properties {
			if p, ok := p.(map[string]any); ok {
				dropDescriptions(p)
			}
		}
	}
	for _, in := range []string{"items", "additionalProperties", "not"} {
		if s, ok := schema[in].(map[string]any); ok {
			dropDescriptions(s)
		}
	}
	for _, of := range []string{"allOf", "anyOf", "oneOf"} {
		all, _ := schema[of].([]any)
		for _, s := range all {
			if s, ok := s.(map[string]any); ok {
				dropDescriptions(s)
			}
		}
	}
}
