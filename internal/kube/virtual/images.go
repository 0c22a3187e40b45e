package virtual

import (
	"fmt"
	"path"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"
	"k8s.io/kubernetes/pkg/util/parsers"
)

// ImageModel is what images weigh and how they travel. The zero value is every reference existing, and the first pull
// of an image on a node taking 8 s in the median and 40 s at the 99th percentile when nothing else is pulled.
type ImageModel struct {
	// Facts overrides what is assumed of one container's image; nil, or zero facts, assume.
	Facts func(pod *v1.Pod, c *v1.Container) ImageFacts
	// Pull is the time of an uncontended pull at 120 MB/s, from which an image's size follows; default 8 s, 40 s.
	Pull Spread
	// RegistryBandwidth in bytes a second, over all nodes; default 1 GB/s.
	RegistryBandwidth float64
	// PullsPerHour is a registry's limit over the cluster; 0 = none.
	PullsPerHour int
	// PullsPerNode makes PullsPerHour the limit of each node: every one has an address of its own.
	PullsPerNode bool
}

// ImageFacts are what is known of one image.
type ImageFacts struct {
	SizeBytes  int64
	Pull       Spread // of an uncontended pull, when the size is not known; zero = as usual
	SharedWith string // another reference whose layers it shares: their bytes travel once
	Error      string // the registry's answer to every pull
	Unknown    bool   // it does not exist in the registry
}

// RegistryFault is a disturbance of the registry.
type RegistryFault struct {
	Down    bool
	Slow    float64 // factor on the registry's bandwidth: 0.1 = ten times slower; 0 = as usual
	Limited bool    // every pull is answered 429
	Match   string  // glob over references; empty = all
}

// defaultPull is the assumed time of a first pull.
var defaultPull = Spread{P50: 8 * time.Second, P99: 40 * time.Second}

// Waiting reasons of images, as the kubelet's.
const (
	reasonImagePull    = "ErrImagePull"
	reasonImageBackOff = "ImagePullBackOff"
	reasonImageNever   = "ErrImageNeverPull"
	reasonImageName    = "InvalidImageName"
)

// imageWorld is the engine's part of image pulls.
type imageWorld struct {
	model     ImageModel
	transfers transfers
	timer     timer
	fault     RegistryFault
	pulled    map[*imageStore][]time.Time // of the last hour, when PullsPerHour is set; nil = of all nodes
}

func (e *Engine) initImages() {
	w := &e.images
	w.model, w.pulled = e.opts.Images, map[*imageStore][]time.Time{}
	if w.model.Pull == (Spread{}) {
		w.model.Pull = defaultPull
	}
	if w.model.RegistryBandwidth <= 0 {
		w.model.RegistryBandwidth = registryBandwidth
	}
	w.transfers.registry = w.model.RegistryBandwidth
	w.timer = timer{kind: timerPull, fire: e.pullsDue}
}

// Registry disturbs the registry from now on; the zero value heals it.
func (e *Engine) Registry(f RegistryFault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := &e.images
	now := time.Now()
	w.transfers.advance(now)
	w.fault = f
	w.transfers.registry = w.model.RegistryBandwidth
	if f.Slow > 0 {
		w.transfers.registry *= f.Slow
	}
	if f.Down {
		w.transfers.registry = 0
	}
	w.transfers.share()
	e.armPulls()
	e.poke()
}

func (e *Engine) armPulls() { e.timers.arm(&e.images.timer, e.grain(e.images.transfers.next())) }

// pullsDue takes up finished transfers and starts queued ones.
func (e *Engine) pullsDue(now time.Time) {
	for _, p := range e.images.transfers.finished(now) {
		p.store.images[p.ref] = &storedImage{size: p.size, arrived: now, used: now, took: now.Sub(p.begun), waited: now.Sub(p.asked)}
		if len(p.store.queue) > 0 && p.store.active < p.store.parallel {
			next := p.store.queue[0]
			p.store.queue = p.store.queue[1:]
			e.images.transfers.start(next, now)
		}
		e.imageArrived(p, now)
	}
	e.armPulls()
}

// imageArrived lets the pods go on that waited for the image, and makes room on the disk if need be.
func (e *Engine) imageArrived(p *pull, now time.Time) {
	inUse := map[string]bool{}
	for _, r := range p.store.node.sortedRecords() {
		for i := range r.state.Containers {
			c := &r.state.Containers[i]
			inUse[c.spec(r.obj).Image] = true
			if c.Run == RunPulling {
				e.touch(r)
			}
		}
	}
	p.store.collect(0, inUse, now)
}

// Image implements Surroundings.
func (a around) Image(pod *v1.Pod, c *v1.Container, now time.Time) (ans ImageAnswer) {
	e, store := a.e, a.r.node.images
	ref := c.Image
	have := store.images[ref]
	if have != nil && c.ImagePullPolicy != v1.PullAlways {
		have.used = now
		return a.present(ref, have, now)
	}
	if _, _, _, err := parsers.ParseImageName(ref); err != nil {
		msg := fmt.Sprintf("Failed to apply default image tag %q: %v", ref, err)
		return ImageAnswer{Reason: reasonImageName, Message: msg, Events: []ImageEvent{{true, events.FailedToInspectImage, msg}}}
	}
	if c.ImagePullPolicy == v1.PullNever {
		msg := fmt.Sprintf("Container image %q is not present with pull policy of Never", ref)
		return ImageAnswer{Reason: reasonImageNever, Message: msg, Events: []ImageEvent{{true, events.ErrImageNeverPullPolicy, msg}}}
	}
	if p := store.find(&e.images.transfers, ref); p != nil {
		return ImageAnswer{Pulling: true}
	}
	if have != nil && !have.arrived.Before(now) {
		return a.present(ref, have, now) // pulled for this very start
	}
	pulling := ImageEvent{false, events.PullingImage, fmt.Sprintf("Pulling image %q", ref)}
	facts := e.imageFacts(pod, c)
	if why := e.refusedPull(store, ref, facts, now); why != "" {
		return a.failedPull(pod, c, ref, why, pulling)
	}
	if have != nil || e.opts.PodStart != Modelled {
		if have == nil {
			have = &storedImage{size: e.imageSize(ref, facts), arrived: now, took: e.timing.Container, waited: e.timing.Container}
			store.images[ref] = have
		}
		have.used = now
		done := fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", ref, e.timing.Container, e.timing.Container, have.size)
		return ImageAnswer{Present: true, Events: []ImageEvent{pulling, {false, events.PulledImage, done}}}
	}
	e.pull(store, ref, facts, now)
	return ImageAnswer{Pulling: true, Events: []ImageEvent{pulling}}
}

func (a around) present(ref string, have *storedImage, now time.Time) ImageAnswer {
	if have.waited > 0 && have.arrived.Equal(now) {
		msg := fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.",
			ref, have.took.Truncate(time.Millisecond), have.waited.Truncate(time.Millisecond), have.size)
		return ImageAnswer{Present: true, Events: []ImageEvent{{false, events.PulledImage, msg}}}
	}
	if !a.e.eventsWanted() {
		return ImageAnswer{Present: true}
	}
	msg := fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", ref)
	return ImageAnswer{Present: true, Events: []ImageEvent{{false, events.PulledImage, msg}}}
}

// failedPull answers a pull that the registry refused. Missing pull secrets are named beside the failure.
func (a around) failedPull(pod *v1.Pod, c *v1.Container, ref, why string, pulling ImageEvent) ImageAnswer {
	ans := ImageAnswer{Reason: reasonImagePull, Message: why, BackOff: true,
		Events: []ImageEvent{pulling, {true, events.FailedToPullImage, fmt.Sprintf("Failed to pull image %q: %s", ref, why)},
			{true, events.FailedToCreateContainer, "Error: " + reasonImagePull}}}
	var missing []string
	for _, s := range pod.Spec.ImagePullSecrets {
		if a.noSecret(pod.Namespace, s.Name) != "" {
			missing = append(missing, s.Name)
		}
	}
	if len(missing) > 0 {
		ans.Events = append(ans.Events, ImageEvent{true, "FailedToRetrieveImagePullSecret", fmt.Sprintf(
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", "))})
	}
	return ans
}

func (e *Engine) imageFacts(pod *v1.Pod, c *v1.Container) ImageFacts {
	if e.images.model.Facts == nil {
		return ImageFacts{}
	}
	return e.images.model.Facts(pod, c)
}

// refusedPull is why the registry, or the kubelet's own limit, refuses a pull now; "" when it does not.
func (e *Engine) refusedPull(store *imageStore, ref string, facts ImageFacts, now time.Time) string {
	w := &e.images
	hit := w.fault.Match == "" || globMatch(w.fault.Match, ref)
	switch {
	case facts.Error != "":
		return facts.Error
	case facts.Unknown || failingReference(ref):
		return fmt.Sprintf("rpc error: code = NotFound desc = failed to pull and unpack image %q: failed to resolve image: %s: not found", ref, ref)
	case hit && w.fault.Down:
		return fmt.Sprintf("rpc error: code = Unavailable desc = failed to pull and unpack image %q: failed to do request: dial tcp: i/o timeout", ref)
	case hit && w.fault.Limited || w.overLimit(store, now):
		return fmt.Sprintf("rpc error: code = Unknown desc = failed to pull and unpack image %q: 429 Too Many Requests - toomanyrequests: pull rate limit exceeded", ref)
	case e.opts.PodStart == Modelled && !store.allow(now):
		return "pull QPS exceeded"
	}
	if w.model.PullsPerHour > 0 {
		w.pulled[w.counter(store)] = append(w.pulled[w.counter(store)], now)
	}
	return ""
}

// counter is whose pulls count together with those of a node.
func (w *imageWorld) counter(store *imageStore) *imageStore {
	if w.model.PullsPerNode {
		return store
	}
	return nil
}

func (w *imageWorld) overLimit(store *imageStore, now time.Time) bool {
	if w.model.PullsPerHour <= 0 {
		return false
	}
	key := w.counter(store)
	for len(w.pulled[key]) > 0 && now.Sub(w.pulled[key][0]) >= time.Hour {
		w.pulled[key] = w.pulled[key][1:]
	}
	return len(w.pulled[key]) >= w.model.PullsPerHour
}

// failingReferences are conventions for images that do not exist.
var failingReferences = []string{"*-argo-error", "*:error", "*:404", "nonexistent*", "*/nonexistent*", "*:nonexistent", "*:non-existent", "*:does-not-exist", "invalid.*/*"}

func failingReference(ref string) bool {
	for _, g := range failingReferences {
		if globMatch(g, ref) {
			return true
		}
	}
	host, _, ok := strings.Cut(ref, "/")
	host, _, _ = strings.Cut(host, ":")
	return ok && strings.HasSuffix(host, ".invalid")
}

// globMatch matches * across path separators, since image names have them.
func globMatch(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
	return err == nil && ok
}

// imageSize is what is known or assumed of an image's bytes.
func (e *Engine) imageSize(ref string, facts ImageFacts) int64 {
	if facts.SizeBytes > 0 {
		return facts.SizeBytes
	}
	pull := e.images.model.Pull
	if facts.Pull != (Spread{}) {
		pull = facts.Pull
	}
	took := pull.at(unit(draw(e.opts.Seed, "image", ref))) - pullOverhead
	return int64(max(took, 0).Seconds() * nodeBandwidth)
}

// pull starts, or queues, the transfer of an image to a node.
func (e *Engine) pull(store *imageStore, ref string, facts ImageFacts, now time.Time) {
	p := &pull{store: store, ref: ref, size: e.imageSize(ref, facts), asked: now}
	if base := store.images[facts.SharedWith]; base != nil {
		p.size = max(p.size-base.size, 0)
	}
	if store.active >= store.parallel {
		store.queue = append(store.queue, p)
		return
	}
	e.images.transfers.start(p, now)
	e.armPulls()
	e.poke()
}

// imageID names an image as a runtime does after resolving it: repository and digest.
func imageID(image string) string {
	if strings.Contains(image, "@sha256:") {
		return image
	}
	name := image
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		name = image[:i]
	}
	return name + "@sha256:" + hexID(0, 64, "image", image)
}
