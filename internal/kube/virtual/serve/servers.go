package serve

import (
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Instance is one run of one container.
type Instance struct {
	Namespace, Name, UID string // of the pod
	Container            string
	Restart              int32
}

// What is known of a container when a connection comes.
type What struct {
	Instance
	Started time.Time
	// Model of the program; nil = answers come at once.
	Model *v1alpha1.ServiceModel
	// Cores it can use; 0 = no bound.
	Cores float64
	// Revision is the hash of the pod's template; "" = not known.
	Revision string
	// Echo answers what came in the request (builtin:echo); Port is that which was asked.
	Echo bool
	Port uint16
	// Closing is when it takes no new connections any more: from then on each of the others ends with its next answer. Whoever
	// makes connections has to see to it that no new ones come. The zero time = never.
	Closing time.Time
	Env     map[string]string
	File    func(path string) ([]byte, error) // reads a file of its volumes; nil = there are none
	Log     func(string)                      // takes a line of the container's log; nil = dropped
}

// Servers of all containers that were ever asked something and still run. The zero value is ready to use.
type Servers struct {
	mu   sync.Mutex
	pods map[string]map[Instance]*server // by UID

	tries tries
}

// Handler answers the requests to a container.
func (s *Servers) Handler(w What) http.Handler {
	one := s.get(w)
	one.set(w)
	if w.Echo {
		return &echo{server: one, what: w, tries: &s.tries}
	}
	return one
}

// Conn returns a connection to a container: it is closed when the container ends.
func (s *Servers) Conn(w What, c net.Conn) net.Conn {
	one := s.get(w)
	return one.keep(c)
}

func (s *Servers) get(w What) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods == nil {
		s.pods = map[string]map[Instance]*server{}
	}
	of := s.pods[w.UID]
	if of == nil {
		of = map[Instance]*server{}
		s.pods[w.UID] = of
	}
	one := of[w.Instance]
	if one == nil {
		one = newServer(w.Instance, w.Started)
		of[w.Instance] = one
	}
	return one
}

// Update takes what is known of a pod now: of its containers that run. Those that do not run any more end.
func (s *Servers) Update(uid string, running []What) {
	s.mu.Lock()
	var ended []*server
	for instance, one := range s.pods[uid] {
		found := false
		for _, w := range running {
			if w.Instance == instance {
				one.set(w)
				found = true
			}
		}
		if !found {
			ended = append(ended, one)
			delete(s.pods[uid], instance)
		}
	}
	if len(s.pods[uid]) == 0 {
		delete(s.pods, uid)
	}
	s.mu.Unlock()
	for _, one := range ended {
		one.close()
	}
}

// Known reports whether a container of the pod was asked something and still runs.
func (s *Servers) Known(uid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pods[uid]) > 0
}

// Used is the CPU time that a container used for requests until then, in seconds.
func (s *Servers) Used(i Instance, until time.Time) float64 {
	s.mu.Lock()
	one := s.pods[i.UID][i]
	s.mu.Unlock()
	if one == nil {
		return 0
	}
	return one.cpu.usedUntil(until)
}

// Close ends all of them.
func (s *Servers) Close() {
	s.mu.Lock()
	all := s.pods
	s.pods = nil
	s.mu.Unlock()
	for _, of := range all {
		for _, one := range of {
			one.close()
		}
	}
}
