package program

import (
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

func TestImageFactsComeFromProgramsAnnotationsAndTheListOfImages(t *testing.T) {
	t.Parallel()
	programs, err := ReadPrograms("p.yaml", []byte(`
apiVersion: fairway.dev/v1alpha1
kind: Program
metadata: {name: big}
spec:
  match: {images: ["*/big"]}
  image: {size: 100M, slow: 3, layersSharedWith: debian}
`), Source{})
	if err != nil {
		t.Fatal(err)
	}
	rules := up()
	rules.Images, err = ReadImages("i.txt", []byte("# ours\nghcr.io/team/*\n"))
	if err != nil {
		t.Fatal(err)
	}
	rules, _ = rules.With(programs)
	book := NewBook(rules)
	for image, exists := range map[string]bool{"nginx": true, "ghcr.io/team/app:v1": true, "example.com/big:v1": true, "example.com/other": false} {
		q := ask(image, nil)
		if got := book.ImageFacts(q.Pod, q.Container); got.Unknown == exists {
			t.Errorf("%s exists: %v; want %v", image, !got.Unknown, exists)
		}
	}
	q := ask("example.com/big:v1", nil)
	if got := book.ImageFacts(q.Pod, q.Container); got.SizeBytes != 300_000_000 || got.SharedWith != "debian" {
		t.Errorf("%+v", got)
	}
	q = ask("example.com/big:v1", nil, note(v1alpha1.SimPull, "20s"))
	if got := book.ImageFacts(q.Pod, q.Container); got.SizeBytes != 2_400_000_000 {
		t.Errorf("a pull of 20s: %+v", got)
	}
	q = ask("nginx", nil, note(v1alpha1.SimPull, "error"))
	if got := book.ImageFacts(q.Pod, q.Container); !strings.Contains(got.Error, v1alpha1.SimPull) {
		t.Errorf("a failing pull: %+v", got)
	}
	if _, err := ReadImages("i.txt", []byte("ok\nnot ok\n")); err == nil || !strings.HasPrefix(err.Error(), "i.txt:2:") {
		t.Errorf("%v", err)
	}
}
