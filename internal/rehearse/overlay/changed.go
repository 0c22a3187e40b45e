package overlay

import (
	"fmt"
	"io/fs"
)

// changed returns the runtime files of src with all edits made, or an error that names the first place that does not fit.
func changed(src fs.FS, schedLog bool) (map[string]string, error) {
	todo := edits
	if schedLog {
		todo = append(append([]edit(nil), edits...), schedLogEdits...)
	}
	files := map[string]string{}
	read := func(name string) (string, error) {
		if text, ok := files[name]; ok {
			return text, nil
		}
		b, err := fs.ReadFile(src, name)
		return string(b), err
	}
	text, err := read("proc.go")
	if err != nil {
		return nil, err
	}
	if files["proc.go"], err = jumpFirst(text); err != nil {
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
