package program

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// pullBytesPerSecond is the uncontended bandwidth of a node by which a time to pull becomes a size.
const pullBytesPerSecond = 120_000_000

// slowPull is the median of a first pull, the base of a Program's factor where no size is given.
const slowPull = 8 * time.Second

// Images says which image references exist (`--images`). The zero value is any.
type Images struct {
	// Known leaves only the image table, images that a Program names, and Globs.
	Known bool
	Globs []string
}

// ReadImages reads the file of `--images FILE`: a glob over image references a line; # begins a comment.
func ReadImages(file string, data []byte) (Images, error) {
	out := Images{Known: true}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		glob := strings.TrimSpace(text)
		if strings.ContainsAny(glob, " \t\"'") {
			return Images{}, fmt.Errorf("%s:%d: %q is not an image reference or glob; write one a line, for example ghcr.io/team/*", file, n, glob)
		}
		if glob != "" {
			out.Globs = append(out.Globs, glob)
		}
	}
	if err := lines.Err(); err != nil {
		return Images{}, fmt.Errorf("%s: %w", file, err)
	}
	return out, nil
}

// exists reports whether the registry has the image.
func (r *Rules) exists(q *Question) bool {
	if !r.Images.Known || lookup(q.Container.Image) != nil {
		return true
	}
	if slices.ContainsFunc(r.Images.Globs, func(g string) bool { return matchesImage(g, q.Container.Image) }) {
		return true
	}
	return slices.ContainsFunc(r.programs, func(p compiled) bool {
		return slices.ContainsFunc(p.Spec.Match.Images, func(g string) bool { return matchesImage(g, q.Container.Image) })
	})
}

// ImageFacts says what is known of a container's image, from its Program and annotations; it is a
// virtual.ImageModel's Facts.
func (b *Book) ImageFacts(pod *corev1.Pod, c *corev1.Container) virtual.ImageFacts {
	q := Question{Pod: pod, Container: c}
	rules := b.Rules()
	choice := Choose(q, rules)
	out := virtual.ImageFacts{Error: choice.Pull.Error, SharedWith: choice.Pull.SharedWith, Unknown: !rules.exists(&q)}
	switch {
	case choice.Pull.Takes > 0:
		out.SizeBytes = int64(choice.Pull.Takes.Seconds() * pullBytesPerSecond)
	case choice.Pull.SizeBytes > 0:
		out.SizeBytes = choice.Pull.SizeBytes
	}
	return out
}
