package platform

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/tools/cache"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
)

// programsCapability keeps what virtual containers do in step with the Program objects of the cluster.
func programsCapability() Capability {
	return Capability{
		Name: "programs", Purpose: "Program objects say what containers on virtual nodes do", Default: true, Virtual: true,
		CRDs:        []string{"programs." + fairway.Group},
		AddToScheme: fairway.AddToScheme,
		Rules:       []rbacv1.PolicyRule{{APIGroups: []string{fairway.Group}, Resources: []string{"programs"}, Verbs: []string{"get", "list", "watch"}}},
		Setup: func(ctx context.Context, h *House) error {
			i, err := h.Manager.GetCache().GetInformer(ctx, &fairway.Program{})
			if err != nil {
				return err
			}
			_, err = i.AddEventHandler(h.programs)
			return err
		},
	}
}

// programSink puts the cluster's Programs beside those of files into a book of rules. Objects win over files of the same
// name. The zero value does nothing.
type programSink struct{ *programSet }

type programSet struct {
	book *program.Book
	log  *slog.Logger

	mu   sync.Mutex
	file map[string]*fairway.Program
	live map[string]*fairway.Program
}

func newProgramSink(book *program.Book, files []*fairway.Program, log *slog.Logger) programSink {
	s := &programSet{book: book, log: log, file: map[string]*fairway.Program{}, live: map[string]*fairway.Program{}}
	for _, p := range files {
		s.file[p.Name] = p
	}
	sink := programSink{s}
	sink.apply()
	return sink
}

// OnAdd implements cache.ResourceEventHandler.
func (s programSink) OnAdd(obj any, _ bool) { s.set(obj, true) }

// OnUpdate implements cache.ResourceEventHandler.
func (s programSink) OnUpdate(_, obj any) { s.set(obj, true) }

// OnDelete implements cache.ResourceEventHandler.
func (s programSink) OnDelete(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	s.set(obj, false)
}

func (s programSink) set(obj any, there bool) {
	p, ok := obj.(*fairway.Program)
	if !ok || s.programSet == nil {
		return
	}
	s.mu.Lock()
	if there {
		s.live[p.Name] = p
	} else {
		delete(s.live, p.Name)
	}
	s.mu.Unlock()
	s.apply()
}

func (s programSink) apply() {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.file)
	maps.Copy(all, s.live)
	list := slices.SortedFunc(maps.Values(all), func(a, b *fairway.Program) int { return strings.Compare(a.Name, b.Name) })
	rules, bad := s.book.Rules().With(list)
	s.book.Set(rules)
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		s.log.Warn(fmt.Sprintf("Program %s matches nothing: %v", name, bad[name]))
	}
}
