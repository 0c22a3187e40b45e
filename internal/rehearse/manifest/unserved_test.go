package manifest

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhatAsksAProgramIsLeftOutOfARehearsal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const text = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: left-out-1}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: left-out-2}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: left-out-3}
spec: {service: {namespace: a, name: b}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: kept-1}
spec: {group: apps, version: v1}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: kept-2}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec: {conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1]}}}
`
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	objects, problems := Read(dir, "all.yaml")
	if len(problems) > 0 || len(objects) != 6 {
		t.Fatal(objects, problems)
	}
	for _, o := range objects {
		left := Unserved(o.Object) != ""
		if want := o.Object.GetName()[:4] == "left"; left != want {
			t.Errorf("%s: left out: %v", o, left)
		}
		if changed := WithoutConversion(o.Object) != ""; changed != (o.Object.GetKind() == "CustomResourceDefinition") {
			t.Errorf("%s: conversion dropped: %v", o, changed)
		}
		if WithoutConversion(o.Object) != "" {
			t.Errorf("%s still has a conversion webhook", o)
		}
	}
}
