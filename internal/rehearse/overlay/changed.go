package overlay

import (
	"fmt"
	"io/fs"
	"slices"
)

// clockFile holds the part of the scheduler that advances the virtual clock.
const clockFile = "runtime/proc.go"

// changed returns the files below src, the source of the standard library, with all edits made, or an error that names the first place that does not fit.
func changed(src fs.FS, schedLog bool) (map[string]string, error) {
	todo := slices.Concat(edits, machineEdits)
	if schedLog {
		todo = append(todo, schedLogEdits...)
	}
	files := map[string]string{}
	read := func(name string) (string, error) {
		if text, ok := files[name]; ok {
			return text, nil
		}
		b, err := fs.ReadFile(src, name)
		return string(b), err
	}
	text, err := read(clockFile)
	if err != nil {
		return nil, err
	}
	if files[clockFile], err = jumpFirst(text); err != nil {
		return nil, fmt.Errorf("%w: %w", errShape, err)
	}
	for _, e := range todo {
		text, err := read(e.file)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errShape, err)
		}
		if files[e.file], err = e.apply(text); err != nil {
			return nil, fmt.Errorf("%w: %w", errShape, err)
		}
	}
	return files, nil
}
