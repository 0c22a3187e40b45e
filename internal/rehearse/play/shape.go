package play

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Shape is a digest of what documents and records look like. A program that plays documents of another shape would
// misread them; it refuses instead.
var Shape = sync.OnceValue(func() string {
	h := sha256.New()
	seen := map[reflect.Type]bool{}
	describeType(h, reflect.TypeFor[Document](), seen)
	describeType(h, reflect.TypeFor[record.Event](), seen)
	return hex.EncodeToString(h.Sum(nil))[:16]
})

func describeType(h io.Writer, t reflect.Type, seen map[reflect.Type]bool) {
	fmt.Fprintln(h, t.String(), t.Kind())
	if seen[t] {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() {
				fmt.Fprintln(h, f.Name, f.Tag)
				describeType(h, f.Type, seen)
			}
		}
	case reflect.Map:
		describeType(h, t.Key(), seen)
		describeType(h, t.Elem(), seen)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		describeType(h, t.Elem(), seen)
	}
}
