package flow

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Now is the time up to which the system has advanced.
func (s *System) Now() time.Time { return s.at(s.now) }

// Services is the number of services, Loads the number of loads.
func (s *System) Services() int { return len(s.services) }

// Loads is the number of loads.
func (s *System) Loads() int { return len(s.loads) }

// SetRate sets the offered rate of an open load in requests a second. It holds from the present time on.
func (s *System) SetRate(load int, perSecond float64) error {
	if !(perSecond >= 0) || perSecond > maxRatePerSec {
		return fmt.Errorf("load %s: %v requests a second; 0…%g are possible, more is taken for a typing error", s.loads[load].spec.Name, perSecond, maxRatePerSec)
	}
	if s.loads[load].given != perSecond {
		s.loads[load].given = perSecond
		s.unsolved = true
	}
	return nil
}

// SetUsers sets the number of users of a closed load.
func (s *System) SetUsers(load int, users float64) error {
	if !(users >= 0) || users > maxRatePerSec {
		return fmt.Errorf("load %s: %v users; 0…%g are possible", s.loads[load].spec.Name, users, maxRatePerSec)
	}
	if s.loads[load].spec.Users != users {
		s.loads[load].spec.Users = users
		s.feedback = true
		s.unsolved = true
	}
	return nil
}

// SetMix sets the weights of the routes of a load, in the order of Load.Mix.
func (s *System) SetMix(load int, weights ...float64) error {
	l := &s.loads[load]
	if len(weights) != len(l.cells) {
		return fmt.Errorf("load %s: %d weights for a mix of %d routes", l.spec.Name, len(weights), len(l.cells))
	}
	sum := 0.0
	for _, w := range weights {
		if !(w >= 0) {
			return fmt.Errorf("load %s: weight %v is negative", l.spec.Name, w)
		}
		sum += w
	}
	if sum <= 0 {
		return fmt.Errorf("load %s: all weights are zero", l.spec.Name)
	}
	for i, w := range weights {
		if c := &l.cells[i]; c.weight != w/sum {
			s.closeLoad(l)
			c.weight = w / sum
			s.weighCell(c)
		}
	}
	return nil
}

// AddNode adds a node.
func (s *System) AddNode(n Node) NodeID {
	s.nodes = append(s.nodes, node{spec: n, changed: true})
	return NodeID(len(s.nodes))
}

// SetNode replaces what is known of a node.
func (s *System) SetNode(id NodeID, n Node) {
	nd := &s.nodes[id-1]
	nd.spec = n
	nd.changed = true
	for _, p := range nd.pods {
		s.change(&s.services[s.pods[p].spec.Service])
	}
	s.unsolved = true
}

// SetRevision describes a revision of a service; revisions not described are like the first.
func (s *System) SetRevision(service, revision int, r Revision) {
	sv := &s.services[service]
	s.change(sv)
	for len(sv.revs) <= revision {
		sv.revs = append(sv.revs, Revision{})
	}
	sv.revs[revision] = r
	sv.resizeCells()
}

// SetModel replaces the model of a service from now on. Routes keep their index, so the new model must have at least as
// many routes as any call or load refers to.
func (s *System) SetModel(service int, m Model) error {
	sv := &s.services[service]
	if sv.constant && len(m.Routes) == 0 {
		return nil // no load reaches it, so there is nothing to change
	}
	if len(m.Routes) < len(sv.routes) {
		return fmt.Errorf("service %s: the new model has %d routes, calls refer to %d", sv.name, len(m.Routes), len(sv.routes))
	}
	c := Config{}
	for i := range s.services {
		c.Services = append(c.Services, Service{Name: s.services[i].name, Model: s.services[i].model, Constant: s.services[i].constant})
	}
	c.Services[service] = Service{Name: sv.name, Model: m}
	if err := checkModel(c, c.Services[service]); err != nil {
		return err
	}
	s.closeAll()
	s.change(sv)
	sv.constant = false
	sv.setModel(m)
	s.connect()
	return nil
}

// ModelOf returns the model of a service, for changes by SetModel.
func (s *System) ModelOf(service int) Model {
	m := s.services[service].model
	m.Routes = slices.Clone(m.Routes)
	for i := range m.Routes {
		m.Routes[i].Calls = slices.Clone(m.Routes[i].Calls)
	}
	return m
}

// AddPod adds a pod; it holds no requests yet.
func (s *System) AddPod(p Pod) PodID {
	var id PodID
	if n := len(s.free); n > 0 {
		id, s.free = s.free[n-1], s.free[:n-1]
	} else {
		s.pods = append(s.pods, pod{})
		id = PodID(len(s.pods) - 1)
	}
	sv := &s.services[p.Service]
	s.change(sv)
	s.pods[id] = pod{spec: p, used: true, zone: s.zoneIndex(p.Zone), started: s.seconds(p.StartedAt), group: -1, granted: 1,
		synced: s.now, slot: math.MinInt64, noisy: stream(s.seed, "noise", p.Key)}
	s.serial++
	s.pods[id].process = s.serial
	s.insertPod(sv, id)
	s.join(id)
	return id
}

// SetPod replaces what is known of a pod. Its key and service must not change.
func (s *System) SetPod(id PodID, p Pod) {
	pd := &s.pods[id]
	if pd.spec == p {
		return
	}
	sv := &s.services[p.Service]
	s.change(sv)
	if pd.spec.Node != p.Node {
		s.leave(id)
	}
	restarted := !pd.spec.StartedAt.Equal(p.StartedAt)
	if restarted || p.Down && !pd.spec.Down || !p.Running && pd.spec.Running {
		sv.lost += pd.x
		pd.x, pd.spread = 0, 0
	}
	if restarted {
		pd.peak, pd.asked = 0, 0
		s.serial++
		pd.process = s.serial
	}
	pd.spec, pd.zone, pd.started = p, s.zoneIndex(p.Zone), s.seconds(p.StartedAt)
	s.join(id)
}

// PodOf returns what is known of a pod, for changes by SetPod.
func (s *System) PodOf(id PodID) Pod { return s.pods[id].spec }

// RemovePod takes a pod out; requests inside it are lost. Read its counters before.
func (s *System) RemovePod(id PodID) {
	pd := &s.pods[id]
	sv := &s.services[pd.spec.Service]
	s.change(sv)
	sv.lost += pd.x
	s.leave(id)
	if i := slices.Index(sv.pods, id); i >= 0 {
		sv.pods = slices.Delete(sv.pods, i, i+1)
	}
	s.forget(sv, id)
	*pd = pod{}
	s.free = append(s.free, id)
}

func (s *System) join(id PodID) {
	p := &s.pods[id]
	if p.spec.Node <= 0 {
		return
	}
	n := &s.nodes[p.spec.Node-1]
	if !slices.Contains(n.pods, id) {
		// Sorted, so that sums do not depend on who came first.
		at, _ := slices.BinarySearchFunc(n.pods, p.spec.Key, func(o PodID, key string) int { return strings.Compare(s.pods[o].spec.Key, key) })
		n.pods = slices.Insert(n.pods, at, id)
	}
	n.changed = true
}

func (s *System) leave(id PodID) {
	p := &s.pods[id]
	if p.spec.Node <= 0 {
		return
	}
	n := &s.nodes[p.spec.Node-1]
	if i := slices.Index(n.pods, id); i >= 0 {
		n.pods = slices.Delete(n.pods, i, i+1)
	}
	n.changed = true
}

// change prepares a service for a change of its pods: what happened so far is accounted for, and pods hold their own state
// until they are grouped again.
func (s *System) change(sv *service) {
	s.unsolved = true
	if sv.constant {
		for _, id := range sv.pods {
			s.sync(&s.pods[id], sv, s.now)
		}
		sv.regroup, sv.unsolved = true, true
		return
	}
	s.touch(sv)
	if !sv.regroup {
		s.ungroup(sv)
	}
	sv.regroup, sv.unsolved, sv.timing = true, true, true
	for r := range sv.routes {
		for e := sv.routes[r].first; e < sv.routes[r].last; e++ {
			if to := &s.services[s.edges[e].to]; to.model.Balance >= Connection && !to.regroup {
				s.touch(to)
				s.ungroup(to)
				to.regroup, to.unsolved, to.timing = true, true, true
			}
		}
	}
}
