package model

import (
	"path"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Generator is a workload of the cluster that makes requests by itself: a closed loop of users.
type Generator struct {
	Workload string // Kind/namespace/name
	To       string // namespace/name of a Service
	Users    int    // a pod
	Because  string
}

// defaultUsers of a generator that does not say how many it plays.
const defaultUsers = 10

var (
	generatorTools = regexp.MustCompile(`^(locust|k6|vegeta|hey|wrk2?)$`)
	generatorNames = regexp.MustCompile(`load.*gen`)
)

// Generators finds load generators: image or command of locust, k6, vegeta, hey, wrk, or a name such as loadgenerator, with
// a target in its configuration.
func Generators(objects []runtime.Object) []Generator { return newIndex(objects).generators() }

func (x *index) generators() []Generator {
	var out []Generator
	for _, w := range x.workloads {
		because := x.generator(w)
		if because == "" {
			continue
		}
		out = append(out, Generator{Workload: w.key(), To: x.calls(w)[0].To, Users: users(w), Because: because})
	}
	return out
}

// generator says why a workload is taken for a load generator, or "".
func (x *index) generator(w *workload) string {
	because := ""
	for i := range w.template.Spec.Containers {
		c := &w.template.Spec.Containers[i]
		image, _, _ := strings.Cut(c.Image, "@")
		image, _, _ = strings.Cut(path.Base(image), ":")
		if generatorTools.MatchString(image) {
			because = "its image is " + c.Image
		}
		for _, a := range append(append([]string{}, c.Command...), c.Args...) {
			if f := strings.Fields(a); len(f) > 0 && generatorTools.MatchString(path.Base(f[0])) {
				because = "it runs " + f[0]
			}
		}
	}
	if because == "" && generatorNames.MatchString(w.name) {
		because = "its name says so"
	}
	if because == "" || len(x.calls(w)) == 0 {
		return ""
	}
	return because
}

func users(w *workload) int {
	for i := range w.template.Spec.Containers {
		for _, e := range w.template.Spec.Containers[i].Env {
			if e.Name == "USERS" || e.Name == "LOCUST_USERS" || e.Name == "K6_VUS" {
				if n, err := strconv.Atoi(e.Value); err == nil && n >= 0 {
					return n
				}
			}
		}
	}
	return defaultUsers
}
