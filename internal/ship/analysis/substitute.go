package analysis

import (
	"encoding/json"
	"fmt"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// The brackets around the name of a value to put in its place.
const open, shut = "{{", "}}"

// secretPlaceholder stands for the value of a secret wherever only the form of a metric matters.
const secretPlaceholder = "secret"

// values of arguments by "args.NAME".
type values map[string]string

// valuesOf takes the values of args; secrets has those of arguments that come from Secrets, by name of the argument.
func valuesOf(args []argo.Argument, secrets map[string]string) (values, error) {
	v := make(values, len(args))
	for i := range args {
		a := &args[i]
		secret, fromSecret := secrets[a.Name]
		switch {
		case fromSecret:
			v["args."+a.Name] = secret
		case a.Value != nil:
			v["args."+a.Name] = *a.Value
		default:
			return nil, fmt.Errorf("argument \"%s\" was not supplied", a.Name)
		}
	}
	return v, nil
}

// placeholders takes the values of args with a word in place of what only a Secret knows.
func placeholders(args []argo.Argument) values {
	v := make(values, len(args))
	for i := range args {
		switch a := &args[i]; {
		case a.ValueFrom != nil && a.ValueFrom.SecretKeyRef != nil:
			v["args."+a.Name] = secretPlaceholder
		case a.Value != nil:
			v["args."+a.Name] = *a.Value
		}
	}
	return v
}

// plain and inJSON say how a value is written where it is put: as it is, or as the inside of a JSON string.
func plain(s string) string { return s }

func inJSON(s string) string {
	b, _ := json.Marshal(s) // a string cannot fail
	return string(b[1 : len(b)-1])
}

// Substitute puts values in the place of their names in double curly brackets; a name without a value is an error.
func Substitute(text string, byName map[string]string) (string, error) {
	return substitute(text, byName, plain)
}

// substitute puts values in the place of their names in brackets.
func substitute(text string, v values, write func(string) string) (string, error) {
	if !strings.Contains(text, open) {
		return text, nil
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, open)
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, shut)
		if !closed {
			return "", fmt.Errorf("%s without %s at %q", open, shut, firstRunes(rest, 40))
		}
		value, known := v[strings.TrimSpace(name)]
		if !known {
			return "", fmt.Errorf("failed to resolve {{%s}}", name)
		}
		out.WriteString(write(value))
		text = after
	}
}

// resolve puts the values of arguments into every field of a metric, those that hold numbers too.
func resolve(m *argo.Metric, v values) (argo.Metric, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return argo.Metric{}, err
	}
	filled, err := substituteStrings(string(text), v)
	if err != nil {
		return argo.Metric{}, err
	}
	var out argo.Metric
	if err := json.Unmarshal([]byte(filled), &out); err != nil {
		return argo.Metric{}, fmt.Errorf("metric %q with its arguments in place: %w", m.Name, err)
	}
	return out, nil
}

// substituteStrings substitutes in each string of a JSON text by itself, so that brackets of JSON are not taken for ours.
func substituteStrings(text string, v values) (string, error) {
	if !strings.Contains(text, open) {
		return text, nil
	}
	var out strings.Builder
	for {
		start := strings.IndexByte(text, '"')
		if start < 0 {
			out.WriteString(text)
			return out.String(), nil
		}
		end := start + 1
		for ; text[end] != '"'; end++ { // valid JSON: every string ends
			if text[end] == '\\' {
				end++
			}
		}
		filled, err := substitute(text[start+1:end], v, inJSON)
		if err != nil {
			return "", err
		}
		out.WriteString(text[:start+1])
		out.WriteString(filled)
		out.WriteByte('"')
		text = text[end+1:]
	}
}

func firstRunes(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n]) + "…"
}
