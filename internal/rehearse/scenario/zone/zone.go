// Package zone knows the time zones of the world from its own copy of the IANA database (public domain; the archive is
// the one Go 1.26 ships). time.LoadLocation asks the machine first, whose database may be older or newer, and then two
// machines would rehearse one scenario differently.
package zone

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"time"
)

//go:embed zoneinfo.zip
var archive []byte

// sizeMax bounds what is read for one zone; the largest of 2026 has under 4 KiB.
const sizeMax = 64 << 10

var files = sync.OnceValues(func() (map[string]*zip.File, error) {
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return nil, fmt.Errorf("reading the embedded time zones: %w", err)
	}
	byName := map[string]*zip.File{}
	for _, f := range r.File {
		if !strings.HasSuffix(f.Name, "/") {
			byName[f.Name] = f
		}
	}
	return byName, nil
})

// Load finds a zone by its IANA name, such as Europe/Berlin. The empty name and UTC are UTC. "Local" is refused, because
// it means another zone on every machine.
func Load(name string) (*time.Location, error) {
	if name == "" || name == "UTC" {
		return time.UTC, nil
	}
	byName, err := files()
	if err != nil {
		return nil, err
	}
	f, ok := byName[name]
	if !ok {
		return nil, fmt.Errorf("the time zone %q is not known; write a name of the IANA database, for example Europe/Berlin", name)
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("reading time zone %s: %w", name, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, sizeMax))
	if err != nil {
		return nil, fmt.Errorf("reading time zone %s: %w", name, err)
	}
	return time.LoadLocationFromTZData(name, data)
}

// Names lists every zone, sorted.
func Names() []string {
	byName, err := files()
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
