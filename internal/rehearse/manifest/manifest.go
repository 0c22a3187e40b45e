// Package manifest reads the objects a team applies: from a file, from a directory with everything below it, or from a
// directory with a kustomization, which is built by kustomize's own library. Each object keeps the file and line it came
// from, so that whoever refuses it later can say where it is.
//
// Nothing is fetched: what a kustomization wants from elsewhere is refused by name.
package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	fileSizeMax = 64 << 20
	filesMax    = 20_000
)

// Object is one object of the API with the place it was written at.
type Object struct {
	Object *unstructured.Unstructured
	File   string // as named, relative to the directory given to Read
	Line   int    // of its first line, from 1
}

// String names the object and its place.
func (o Object) String() string {
	name := o.Object.GetName()
	if ns := o.Object.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	return fmt.Sprintf("%s/%s (%s:%d)", o.Object.GetKind(), name, o.File, o.Line)
}

// Problem is a file or document that could not be read. Line is 0 when the file as a whole is meant.
type Problem struct {
	File    string
	Line    int
	Message string
	Hint    string
}

// Error names the place, the problem and what to do.
func (p Problem) Error() string {
	place := p.File
	if p.Line > 0 {
		place = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	if p.Hint == "" {
		return place + ": " + p.Message
	}
	return place + ": " + p.Message + "; " + p.Hint
}

// Read reads the objects at a path, which is relative to dir. The order is that of the files by name and of the
// documents in them (a kustomization's own order for a kustomization); InstallOrder sorts for applying. Every problem
// is reported, not only the first.
func Read(dir, path string) ([]Object, []Problem) {
	r := &reader{dir: dir}
	full := r.full(path)
	info, err := os.Stat(full)
	switch {
	case err != nil:
		r.fail(path, 0, "check the path; it is relative to the file that names it", "cannot be read: %s", reason(err))
	case !info.IsDir():
		r.file(path)
	case kustomizationIn(full) != "":
		r.kustomize(path)
	default:
		r.directory(path)
	}
	return r.objects, r.problems
}

type reader struct {
	dir      string
	objects  []Object
	problems []Problem
}

func (r *reader) full(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.dir, path)
}

func (r *reader) fail(file string, line int, hint, format string, args ...any) {
	r.problems = append(r.problems, Problem{file, line, fmt.Sprintf(format, args...), hint})
}

func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// suffixes are the files of a directory that are read.
var suffixes = map[string]bool{".yaml": true, ".yml": true, ".json": true}

// directory reads every file below it, by name. Hidden files and directories are left alone.
func (r *reader) directory(path string) {
	root := r.full(path)
	var files []string
	err := filepath.WalkDir(root, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, at)
		if err != nil {
			return err
		}
		name := filepath.Join(path, relative)
		switch {
		case relative != "." && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return filepath.SkipDir
			}
		case entry.IsDir():
			return r.enter(name, at, relative == ".")
		case suffixes[filepath.Ext(entry.Name())]:
			if files = append(files, name); len(files) > filesMax {
				return fmt.Errorf("more than %d files", filesMax)
			}
		}
		return nil
	})
	if err != nil {
		r.fail(path, 0, "", "cannot be read: %s", reason(err))
		return
	}
	sort.Strings(files)
	for _, file := range files {
		r.file(file)
	}
	if len(files) == 0 && len(r.problems) == 0 {
		r.fail(path, 0, "name a directory with .yaml, .yml or .json files", "holds no manifests")
	}
}

// enter looks at a directory before what is in it, and passes over those that are not plain manifests.
func (r *reader) enter(name, at string, root bool) error {
	if _, err := os.Stat(filepath.Join(at, "Chart.yaml")); err == nil {
		r.fail(filepath.Join(name, "Chart.yaml"), 1, "until then render it with helm template into a directory and name that", "reading a Helm chart is not built yet")
		return filepath.SkipDir
	}
	if k := kustomizationIn(at); !root && k != "" {
		r.fail(filepath.Join(name, k), 1, "name the directory of the kustomization itself", "a kustomization lies inside a directory of plain manifests, so it is unclear which of both is meant")
		return filepath.SkipDir
	}
	return nil
}

func (r *reader) file(name string) {
	full := r.full(name)
	if info, err := os.Stat(full); err == nil && info.Size() > fileSizeMax {
		r.fail(name, 0, "split it up", "has %d bytes; at most %d are read", info.Size(), fileSizeMax)
		return
	}
	data, err := os.ReadFile(full)
	if err != nil {
		r.fail(name, 0, "", "cannot be read: %s", reason(err))
		return
	}
	objects, problems := Parse(data, name)
	r.objects = append(r.objects, objects...)
	r.problems = append(r.problems, problems...)
}
