// Command refgen writes the reference of every field into docs/scenario.md; go generate runs it.
package main

import (
	"fmt"
	"os"

	"github.com/fairway-dev/fairway/internal/rehearse/scenario"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "refgen:", err)
		os.Exit(1)
	}
}

func run(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	with, err := scenario.WithReference(string(text))
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(with), 0o644)
}
