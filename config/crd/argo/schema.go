package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// node is a part of an OpenAPI schema.
type node = map[string]any

// templates are where the kinds have pod templates.
var templates = map[string]string{
	"Rollout":                 "spec.template",
	"Experiment":              "spec.templates[].template",
	"AnalysisRun":             "spec.metrics[].provider.job.spec.template",
	"AnalysisTemplate":        "spec.metrics[].provider.job.spec.template",
	"ClusterAnalysisTemplate": "spec.metrics[].provider.job.spec.template",
}

// finish a definition as controller-gen made it.
func finish(def node) error {
	root, kind, err := schema(def)
	if err != nil {
		return err
	}
	pods := templates[kind]
	if pods == "" {
		return fmt.Errorf("kind %q is not known to have a pod template; add it to the list of templates", kind)
	}
	if err := set(root, pods+".metadata", metadata()); err != nil {
		return err
	}
	if job, ok := strings.CutSuffix(pods, ".spec.template"); ok && kind != "Rollout" {
		if err := set(root, job+".metadata", metadata()); err != nil {
			return err
		}
	}
	for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
		for _, field := range []string{"limits", "requests"} {
			if err := set(root, pods+".spec."+list+"[].resources."+field, anything()); err != nil {
				return err
			}
		}
	}
	if err := set(root, pods+".spec.volumes", anything()); err != nil {
		return err
	}
	if kind != "Rollout" {
		dropTransitions(root)
		return nil
	}
	steps, err := at(root, "spec.strategy.canary.steps")
	if err != nil {
		return err
	}
	if err := add(root, "spec.strategy.steps", steps); err != nil {
		return err
	}
	return add(root, "status.duration", duration())
}

// dropTransitions takes away rules that compare a Job's spec with what it was: within lists nobody can tell what it was, so
// that the API server refuses such rules. They are checked when the Job is written.
func dropTransitions(n any) {
	switch n := n.(type) {
	case node:
		if rules, ok := n["x-kubernetes-validations"].([]any); ok {
			rules = slices.DeleteFunc(rules, func(r any) bool {
				text, _ := r.(node)["rule"].(string)
				return strings.Contains(text, "oldSelf")
			})
			if n["x-kubernetes-validations"] = rules; len(rules) == 0 {
				delete(n, "x-kubernetes-validations")
			}
		}
		for _, v := range n {
			dropTransitions(v)
		}
	case []any:
		for _, v := range n {
			dropTransitions(v)
		}
	}
}

// shrink leaves of pod templates what fills in defaults, for pods' hashes depend on them, and what lists are merged by.
func shrink(def node) error {
	root, kind, err := schema(def)
	if err != nil {
		return err
	}
	path := templates[kind] + ".spec"
	pods, err := at(root, path)
	if err != nil {
		return err
	}
	rest, _ := essence(pods)
	return set(root, path, rest)
}

// essence of a schema and whether there is any: the parts that lead to a default.
func essence(n node) (node, bool) {
	out := node{}
	if t, ok := n["type"]; ok {
		out["type"] = t
	}
	_, some := n["default"]
	if some {
		out["default"] = n["default"]
	}
	if items, ok := n["items"].(node); ok {
		rest, there := essence(items)
		if keys, ok := n["x-kubernetes-list-map-keys"].([]any); ok && there {
			keep(items, rest, keys)
			out["x-kubernetes-list-map-keys"], out["x-kubernetes-list-type"] = keys, n["x-kubernetes-list-type"]
		}
		out["items"], some = rest, some || there
	}
	if properties, ok := n["properties"].(node); ok {
		kept := node{}
		for name, p := range properties {
			if rest, there := essence(p.(node)); there {
				kept[name] = rest
			}
		}
		if len(kept) > 0 {
			out["properties"], some = kept, true
		}
	}
	if n["type"] == "object" {
		out["x-kubernetes-preserve-unknown-fields"] = true
	}
	return out, some
}

// keep the keys of a list's items.
func keep(items, rest node, keys []any) {
	properties, _ := items["properties"].(node)
	kept, _ := rest["properties"].(node)
	if kept == nil {
		kept = node{}
		rest["properties"] = kept
	}
	for _, k := range keys {
		if p, ok := properties[k.(string)].(node); ok {
			kept[k.(string)] = p
		}
	}
	required, _ := items["required"].([]any)
	if required = slices.DeleteFunc(slices.Clone(required), func(r any) bool { return !slices.Contains(keys, r) }); len(required) > 0 {
		rest["required"] = required
	}
}

func anything() node { return node{"x-kubernetes-preserve-unknown-fields": true} }

func metadata() node {
	words := node{"type": "object", "additionalProperties": node{"type": "string"}}
	return node{"type": "object", "properties": node{"annotations": words, "labels": maps.Clone(words)}}
}

// duration is status.duration of the peer's versions after 1.10.1.
func duration() node {
	moment := func() node { return node{"type": "string", "format": "date-time"} }
	return node{"type": "object", "properties": node{
		"rolloutStartedAt": moment(), "manualPauseStartedAt": moment(), "finishedAt": moment(),
		"totalManualPauseDurationSeconds": node{"type": "integer", "format": "int64"}, "completionStatus": node{"type": "string"},
	}}
}

// schema is that of the only version of a definition, and the kind.
func schema(def node) (root node, kind string, err error) {
	spec, _ := def["spec"].(node)
	names, _ := spec["names"].(node)
	kind, _ = names["kind"].(string)
	versions, _ := spec["versions"].([]any)
	if len(versions) != 1 {
		return nil, kind, fmt.Errorf("%s has %d versions, not one", kind, len(versions))
	}
	s, _ := versions[0].(node)["schema"].(node)
	root, ok := s["openAPIV3Schema"].(node)
	if !ok {
		return nil, kind, fmt.Errorf("%s has no schema", kind)
	}
	return root, kind, nil
}

// at is the schema of a field: names with dots between, [] after that of a list for its items.
func at(root node, path string) (node, error) {
	n := root
	for part := range strings.SplitSeq(path, ".") {
		name, list := strings.CutSuffix(part, "[]")
		properties, _ := n["properties"].(node)
		next, ok := properties[name].(node)
		if ok && list {
			next, ok = next["items"].(node)
		}
		if !ok {
			return nil, fmt.Errorf("there is no %s in %s: the types have changed", part, path)
		}
		n = next
	}
	return n, nil
}

// set replaces the schema of a field that is there.
func set(root node, path string, to node) error {
	if _, err := at(root, path); err != nil {
		return err
	}
	return put(root, path, to)
}

// add the schema of a field that is not there yet.
func add(root node, path string, to node) error {
	if _, err := at(root, path); err == nil {
		return fmt.Errorf("%s is there already: the types have changed", path)
	}
	return put(root, path, to)
}

func put(root node, path string, to node) error {
	parent, name := root, path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		var err error
		if parent, err = at(root, path[:i]); err != nil {
			return err
		}
		name = path[i+1:]
	}
	properties, ok := parent["properties"].(node)
	if !ok {
		properties = node{}
		parent["properties"] = properties
	}
	properties[name] = to
	return nil
}
