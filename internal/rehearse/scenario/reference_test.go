package scenario

import (
	"os"
	"strings"
	"testing"
)

const page = "../../../docs/scenario.md"

func TestTheReferenceInTheDocumentationIsThatOfTheTypes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if with, err := WithReference(string(text)); err != nil || with != string(text) {
		t.Errorf("docs/scenario.md is behind the types (%v); run go generate ./internal/rehearse/scenario", err)
	}
}

func TestTheExampleInTheDocumentationIsValid(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("there is no example")
	}
	if _, diags := Parse([]byte(example), "example.yaml"); len(diags) > 0 {
		t.Error(diags)
	}
}
