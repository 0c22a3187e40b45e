package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Parse reads the documents of one file, as kubectl does: YAML documents between lines of ---, or JSON. Lists are
// expanded into their items.
func Parse(data []byte, file string) ([]Object, []Problem) {
	p := &parser{file: file}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if strings.HasSuffix(file, ".json") {
		p.json(data)
	} else {
		for _, d := range split(string(data)) {
			p.yaml(d)
		}
	}
	return p.objects, p.problems
}

type parser struct {
	file     string
	objects  []Object
	problems []Problem
}

func (p *parser) fail(line int, hint, format string, args ...any) {
	p.problems = append(p.problems, Problem{p.file, line, fmt.Sprintf(format, args...), hint})
}

type document struct {
	text  string
	line  int // of the first line of text
	first int // of the first line that says something
}

// split cuts at lines of ---, and drops documents of comments alone.
func split(text string) []document {
	var documents []document
	current := document{line: 1}
	var b strings.Builder
	flush := func(next int) {
		if current.text = b.String(); current.first > 0 {
			documents = append(documents, current)
		}
		b.Reset()
		current = document{line: next}
	}
	for i, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "---"); ok && (rest == "" || strings.ContainsAny(rest[:1], " \t\r")) {
			flush(i + 2)
			continue
		}
		trimmed := strings.TrimSpace(line)
		if current.first == 0 && trimmed != "" && trimmed[0] != '#' && trimmed[0] != '%' && trimmed != "..." {
			current.first = i + 1
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	flush(0)
	return documents
}

var lineNumber = regexp.MustCompile(`line ([0-9]+): `)

func (p *parser) yaml(d document) {
	data, err := yaml.YAMLToJSONStrict([]byte(d.text))
	if err != nil {
		line, message := d.first, strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "yaml: ")
		if m := lineNumber.FindStringSubmatch(message); m != nil {
			n, _ := strconv.Atoi(m[1])
			line = d.line + n - 1
			message = strings.Replace(message, m[0], "", 1)
		}
		message = strings.TrimSpace(strings.TrimPrefix(message, "unmarshal errors:"))
		p.fail(line, "check indentation, quotes and tabs", "this is not YAML: %s", message)
		return
	}
	p.document(data, d.first)
}

func (p *parser) json(data []byte) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		begin := int(decoder.InputOffset())
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return
		}
		for begin < len(data) && strings.ContainsRune(" \t\r\n", rune(data[begin])) {
			begin++
		}
		if err != nil {
			at := min(int(decoder.InputOffset()), len(data))
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				at = min(int(syntax.Offset), len(data))
			}
			p.fail(1+bytes.Count(data[:at], []byte("\n")), "check commas and quotes", "this is not JSON: %v", err)
			return
		}
		p.document(raw, 1+bytes.Count(data[:begin], []byte("\n")))
	}
}

// listDepthMax bounds lists within lists.
const listDepthMax = 4

func (p *parser) document(data []byte, line int) {
	if string(bytes.TrimSpace(data)) == "null" {
		return
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		p.fail(line, "write apiVersion, kind and metadata", "this is not an object of Kubernetes but a text or a list")
		return
	}
	object := &unstructured.Unstructured{}
	if err := check(fields); err != nil {
		p.fail(line, "write apiVersion, kind and metadata.name", "%v", err)
		return
	}
	if err := object.UnmarshalJSON(data); err != nil {
		p.fail(line, "", "%v", err)
		return
	}
	p.add(object, line, 0)
}

// add keeps an object, or the items of a list.
func (p *parser) add(object *unstructured.Unstructured, line, depth int) {
	_, hasItems := object.Object["items"].([]any)
	if !strings.HasSuffix(object.GetKind(), "List") || !hasItems {
		if object.GetName() == "" && object.GetGenerateName() == "" {
			p.fail(line, "write metadata.name", "a %s has no name", object.GetKind())
			return
		}
		p.objects = append(p.objects, Object{object, p.file, line})
		return
	}
	for i, item := range object.Object["items"].([]any) {
		fields, ok := item.(map[string]any)
		if !ok || depth == listDepthMax {
			p.fail(line, "", "item %d of the %s is not an object", i+1, object.GetKind())
			continue
		}
		one := &unstructured.Unstructured{Object: fields}
		if one.GetKind() == "" { // the items of a typed list need not say it
			one.SetKind(strings.TrimSuffix(object.GetKind(), "List"))
			one.SetAPIVersion(object.GetAPIVersion())
		}
		if err := check(fields); err != nil {
			p.fail(line, "", "item %d of the %s: %v", i+1, object.GetKind(), err)
			continue
		}
		p.add(one, line, depth+1)
	}
}

func check(fields map[string]any) error {
	for _, name := range []string{"apiVersion", "kind"} {
		if text, ok := fields[name].(string); !ok || text == "" {
			return fmt.Errorf("this is not an object of Kubernetes: %s is missing", name)
		}
	}
	if m, given := fields["metadata"]; given {
		if _, ok := m.(map[string]any); !ok {
			return fmt.Errorf("metadata is not a mapping")
		}
	}
	return nil
}
