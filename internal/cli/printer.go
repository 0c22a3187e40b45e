package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// outputFlag is -o: table (default), wide, json or yaml.
type outputFlag string

func (o *outputFlag) add(f *pflag.FlagSet) {
	f.VarP(o, "output", "o", "how to print: table, wide, json or yaml")
}

// String implements pflag.Value.
func (o *outputFlag) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *outputFlag) Type() string { return "format" }

// Set implements pflag.Value.
func (o *outputFlag) Set(v string) error {
	switch v {
	case "table", "wide", "json", "yaml":
		*o = outputFlag(v)
		return nil
	}
	return fmt.Errorf("%q is not known; use table, wide, json or yaml", v)
}

// print is the one way out for results: v as JSON or YAML, or what text writes.
func (o outputFlag) print(w io.Writer, v any, text func(*table)) error {
	switch o {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	case "yaml":
		b, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}
	t := &table{w: tabwriter.NewWriter(w, 0, 8, 3, ' ', 0), wide: o == "wide"}
	text(t)
	return t.w.Flush()
}

// table aligns columns.
type table struct {
	w    *tabwriter.Writer
	wide bool
}

func (t *table) row(cells ...string) {
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

// line ends the alignment of the rows before it.
func (t *table) line(format string, args ...any) {
	t.w.Flush()
	fmt.Fprintf(t.w, format+"\n", args...)
	t.w.Flush()
}
