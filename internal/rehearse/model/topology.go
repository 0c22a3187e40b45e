package model

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/route"
	"github.com/fairway-dev/fairway/internal/rehearse/flow"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Input is what a Topology is built from.
type Input struct {
	// Scenario with its defaults filled in.
	Scenario *v1alpha1.ScenarioSpec
	// Objects of the cluster: workloads, Services, ConfigMaps, HPAs, Ingresses, Gateway routes; typed or unstructured.
	Objects []runtime.Object
	// MeanRate of each load of the scenario over the run, in requests a second (for closed loads the number of users);
	// the CPU a request is derived from it when nobody gave one. Missing means 0.
	MeanRate []float64
	// Programs returns the model that a Program gives a container of pods of a template in a namespace; nil = it gives none. A
	// nil function = there are no Programs. Entries of the scenario and annotations win over it field by field.
	Programs func(namespace string, template *corev1.PodTemplateSpec, container *corev1.Container) *v1alpha1.ServiceModel
	Start    time.Time
	Seed     int64
}

// Topology is the cluster as the flow model sees it.
type Topology struct {
	// Config to build a flow.System from. Services are sorted by name; the last is the catch-all for pods of unknown owner.
	Config flow.Config
	// Loads tells for each load of Config where it comes from.
	Loads []LoadOrigin
	// Entries are the services by index, as of Config.
	Entries []Entry
	Assumed []record.Assumed
	Limits  []record.Limit
	// Steered are the Rollouts whose weights a gateway carries out, when some load comes through one.
	Steered []Steered
	// Edges found by inference and used.
	Edges []Edge

	scenario   *v1alpha1.ScenarioSpec
	programs   func(namespace string, template *corev1.PodTemplateSpec, container *corev1.Container) *v1alpha1.ServiceModel
	index      *index
	overrides  []override // steps of kind set
	next       int
	components []*component
	byWorkload map[string]int
	byService  map[string]int // Services by namespace/name
	rates      []float64      // mean arrivals a second
	costs      []time.Duration
	circular   map[[2]int]bool // inferred edges left out
}

// LoadOrigin says where a load comes from: the scenario's load number Scenario, or the pods of Generator.
type LoadOrigin struct {
	Scenario  int // −1 for a generator
	Generator string
	// Replicas the user count of a generator was multiplied by.
	Replicas int
	// UsersPerPod of a generator, so that the count follows its pods.
	UsersPerPod int
	// Heads are the requests by which a load that comes through a gateway is routed, one for each entry of its Mix (or one in
	// all); nil = it goes to its Service itself.
	Heads []route.Request
	// Behind are the services that it may reach.
	Behind []int
}

// Steered is a Rollout whose weights a gateway carries out.
type Steered struct {
	Service int
	// Limit holds when no load's requests get to the Service through a gateway.
	Limit record.Limit
}

// Entry names one service of the model.
type Entry struct {
	Name      string
	Workloads []string // Kind/namespace/name
	Services  []string // namespace/name
	Routes    []string
	// Reached says that some load gets there.
	Reached bool
	// Model is what the scenario and annotations say of it, for parts other than requests (ready, stop, crash). What Programs
	// say of those differs from pod to pod, and is left to who starts containers.
	Model v1alpha1.ServiceModel
}

type override struct {
	handle int
	entry  v1alpha1.Service
}

// component is a set of workloads and the Services in front of them.
type component struct {
	name      string
	namespace string
	workloads []*workload
	services  []*corev1.Service
	generator bool
	model     v1alpha1.ServiceModel // without image-narrowed entries
	said      v1alpha1.ServiceModel // and without Programs
	routes    []string
	runtime   v1alpha1.Runtime
	calls     []Edge
	reached   bool
}

func (c *component) primary() *workload {
	for _, w := range c.workloads {
		if !w.referred {
			return w
		}
	}
	if len(c.workloads) == 0 {
		return nil
	}
	return c.workloads[0]
}

// Build makes the Topology. Errors name the scenario's field and what is possible.
func Build(in Input) (*Topology, error) {
	t := &Topology{scenario: in.Scenario, programs: in.Programs, index: newIndex(in.Objects), byWorkload: map[string]int{}, byService: map[string]int{}}
	t.group()
	for i := range t.components {
		t.describe(i)
	}
	if err := t.loads(in); err != nil {
		return nil, err
	}
	t.nameRoutes()
	t.breakCircles()
	if err := t.reach(); err != nil {
		return nil, err
	}
	t.Config.Seed, t.Config.Start = in.Seed, in.Start
	n := in.Scenario.Network
	again := resend(float64(n.Loss))
	t.Config.Network = flow.Network{SameZone: n.SameZone.Duration + again, CrossZone: n.CrossZone.Duration + again}
	t.estimate(in)
	for i := range t.components {
		t.Config.Services = append(t.Config.Services, t.service(i))
	}
	t.Config.Services = append(t.Config.Services, flow.Service{Name: "(other pods)", Constant: true, Usage: constantUse})
	t.finishLoads(in)
	for i, c := range t.components {
		e := Entry{Name: c.name, Routes: c.routes, Reached: c.reached, Model: c.said}
		for _, w := range c.workloads {
			e.Workloads = append(e.Workloads, w.key())
		}
		for _, s := range c.services {
			e.Services = append(e.Services, namespaceOf(s.ObjectMeta)+"/"+s.Name)
		}
		t.Entries = append(t.Entries, e)
		t.tell(i)
	}
	t.Entries = append(t.Entries, Entry{Name: "(other pods)"})
	t.checkImages()
	routed := slices.ContainsFunc(t.Loads, func(o LoadOrigin) bool { return o.Heads != nil })
	for _, o := range in.Objects {
		for _, u := range Unplayed(o) {
			limit := record.Limit{What: u.Object + " " + u.What, Why: u.Why}
			if i, ok := t.byWorkload[strings.Replace(u.Object, " ", "/", 1)]; u.Routed && routed && ok {
				t.Steered = append(t.Steered, Steered{i, limit})
				continue
			}
			t.Limits = append(t.Limits, limit)
		}
	}
	return t, nil
}

// resendAfter is TCP's least time until a lost packet is sent again (Linux, TCP_RTO_MIN).
const resendAfter = 200 * time.Millisecond

// resend is the mean delay that loss adds one way: with a share p of round trips hit, each try again waits, p/(1−p) times
// in the mean.
func resend(p float64) time.Duration {
	return time.Duration(float64(resendAfter) * p / (1 - p) / 2)
}

// checkImages says what of entries narrowed by image is not modelled.
func (t *Topology) checkImages() {
	for _, e := range t.scenario.Services {
		m := e.ServiceModel
		m.CPUFactor, m.LatencyFactor, m.Errors, m.CPU = nil, nil, nil, nil
		if e.Image == "" || reflect.DeepEqual(m, v1alpha1.ServiceModel{}) {
			continue
		}
		t.Limits = append(t.Limits, record.Limit{What: "services[] match: " + e.Match.String() + ", image: " + e.Image,
			Why: "of one revision only cpu, cpuFactor, latencyFactor and errors are modelled; the entry's other fields have no effect on requests"})
	}
}

// constantUse is what pods use that no load reaches.
var constantUse = flow.Usage{CPURequestShare: 0.5, MemoryRequestShare: 0.7}

// group joins Services and the workloads behind them; workloads that share a Service are one component.
func (t *Topology) group() {
	of := map[*workload]*component{}
	for _, w := range t.index.workloads {
		c := &component{workloads: []*workload{w}, namespace: w.namespace}
		of[w] = c
		t.components = append(t.components, c)
	}
	for _, s := range t.index.services {
		behind := t.index.behind(s)
		if len(behind) == 0 {
			continue
		}
		c := of[behind[0]]
		for _, w := range behind[1:] {
			if o := of[w]; o != c {
				c.workloads = append(c.workloads, o.workloads...)
				c.services = append(c.services, o.services...)
				for _, m := range o.workloads {
					of[m] = c
				}
				t.components = slices.DeleteFunc(t.components, func(x *component) bool { return x == o })
			}
		}
		c.services = append(c.services, s)
	}
	for _, c := range t.components {
		c.name = nameOf(c)
		c.generator = t.index.generator(c.primary()) != ""
	}
	slices.SortFunc(t.components, func(a, b *component) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.primary().key(), b.primary().key()))
	})
	for i, c := range t.components {
		for _, w := range c.workloads {
			t.byWorkload[w.key()] = i
		}
		for _, s := range c.services {
			t.byService[namespaceOf(s.ObjectMeta)+"/"+s.Name] = i
		}
	}
}

// nameOf is the name of the Service called like a workload, else the shortest Service name, else the workload's.
func nameOf(c *component) string {
	best := ""
	for _, s := range c.services {
		for _, w := range c.workloads {
			if s.Name == w.name {
				return w.namespace + "/" + w.name
			}
		}
		if best == "" || len(s.Name) < len(best) {
			best = s.Name
		}
	}
	return c.namespace + "/" + cmp.Or(best, c.primary().name)
}

// ServiceOf is the index of the service whose pod this is. workload is Kind/namespace/name of the top-most owner. Pods of
// unknown owner belong to a Service that selects them, else to the catch-all.
func (t *Topology) ServiceOf(pod *corev1.Pod, workload string) int {
	if i, ok := t.byWorkload[workload]; ok {
		return i
	}
	for _, s := range t.index.services {
		if len(s.Spec.Selector) > 0 && s.Namespace == pod.Namespace && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			if i, ok := t.byService[namespaceOf(s.ObjectMeta)+"/"+s.Name]; ok {
				return i
			}
		}
	}
	return len(t.Config.Services) - 1
}

// entries are the scenario's services and, after them, what set steps added.
func (t *Topology) entries() []v1alpha1.Service {
	out := slices.Clone(t.scenario.Services)
	for _, o := range t.overrides {
		out = append(out, o.entry)
	}
	return out
}

// Set adds an entry as a set step does. It returns a handle for Unset and the indexes of the services it concerns: give
// each its new Model by flow.System.SetModel, and its revisions anew by RevisionOf.
func (t *Topology) Set(e v1alpha1.Service) (handle int, concerned []int, err error) {
	concerned = t.matching(&e)
	if len(concerned) == 0 {
		return 0, nil, fmt.Errorf("set: no workload matches %s; the services are %s", e.Match, strings.Join(t.names(), ", "))
	}
	if len(e.Routes) > 0 {
		for _, i := range concerned {
			for r := range e.Routes {
				if !slices.Contains(t.components[i].routes, r) {
					return 0, nil, fmt.Errorf("set: %s has no route %q that a load or call uses; its routes are %s", t.components[i].name, r, strings.Join(t.components[i].routes, ", "))
				}
			}
		}
	}
	t.next++
	t.overrides = append(t.overrides, override{t.next, e})
	return t.next, concerned, t.renew(concerned)
}

// Unset takes an entry added by Set out again and returns the services it concerned.
func (t *Topology) Unset(handle int) []int {
	i := slices.IndexFunc(t.overrides, func(o override) bool { return o.handle == handle })
	if i < 0 {
		return nil
	}
	e := t.overrides[i].entry
	t.overrides = slices.Delete(t.overrides, i, i+1)
	concerned := t.matching(&e)
	_ = t.renew(concerned) // taking an entry out leaves names that were resolved before
	return concerned
}

func (t *Topology) matching(e *v1alpha1.Service) []int {
	var out []int
	for i, c := range t.components {
		if t.matches(&e.Match, c) {
			out = append(out, i)
		}
	}
	return out
}

// renew resolves services again. Calls that Set gives must name services the run knows.
func (t *Topology) renew(concerned []int) error {
	for _, i := range concerned {
		t.describe(i)
		for _, r := range t.components[i].routes {
			if _, err := t.routeCalls(i, r); err != nil {
				return err
			}
		}
		t.Config.Services[i] = t.service(i)
		t.Entries[i].Model = t.components[i].said
	}
	return nil
}

func (t *Topology) names() []string {
	var out []string
	for _, c := range t.components {
		out = append(out, c.name)
	}
	return out
}

// matches says whether a component is meant: by Service or workload name, by kind, or by the labels of its pods.
func (t *Topology) matches(m *v1alpha1.Match, c *component) bool {
	if m.Selector != "" {
		sel, err := labels.Parse(m.Selector)
		if err != nil || m.Namespace != "" && m.Namespace != c.namespace {
			return false
		}
		return slices.ContainsFunc(c.workloads, func(w *workload) bool { return sel.Matches(labels.Set(w.template.Labels)) })
	}
	if strings.Count(m.Name, "/") >= 2 {
		for _, s := range c.services {
			if glob(m.Name, "Service/"+namespaceOf(s.ObjectMeta)+"/"+s.Name) {
				return true
			}
		}
		return slices.ContainsFunc(c.workloads, func(w *workload) bool { return glob(m.Name, w.key()) })
	}
	for _, s := range c.services {
		if glob(m.Name, namespaceOf(s.ObjectMeta)+"/"+s.Name) {
			return true
		}
	}
	return slices.ContainsFunc(c.workloads, func(w *workload) bool { return glob(m.Name, w.namespace+"/"+w.name) })
}
