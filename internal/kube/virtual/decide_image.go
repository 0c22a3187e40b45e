package virtual

import (
	"slices"
	"time"
)

// Defaults of image transfer (assumptions: a busy node's disk and network, a regional registry mirror).
const (
	pullOverhead      = 300 * time.Millisecond // resolve, unpack
	nodeBandwidth     = 120e6                  // bytes a second
	registryBandwidth = 1e9
	// registryQPS and registryBurst are the kubelet's own limits of pulls a node.
	registryQPS   = 5
	registryBurst = 10
)

// pull is one image on its way to one node.
type pull struct {
	store *imageStore
	ref   string
	size  int64
	left  float64 // bytes; the overhead counts as bytes at full bandwidth
	rate  float64 // bytes a second, until the next start or end of any pull
	asked time.Time
	begun time.Time
}

// transfers is the ledger of all pulls: they share the registry, and those of one node share its bandwidth, evenly
// (processor sharing). Rates change only when a pull starts or ends.
type transfers struct {
	active   []*pull // in order of start
	now      time.Time
	registry float64 // bytes a second in all
}

// advance moves bytes until now.
func (x *transfers) advance(now time.Time) {
	elapsed := now.Sub(x.now).Seconds()
	if elapsed <= 0 {
		return
	}
	for _, p := range x.active {
		p.left -= p.rate * elapsed
	}
	x.now = now
}

// start begins p at now.
func (x *transfers) start(p *pull, now time.Time) {
	if len(x.active) == 0 {
		x.now = now
	}
	x.advance(now)
	p.begun = now
	p.left = float64(p.size) + pullOverhead.Seconds()*p.store.bandwidth
	x.active = append(x.active, p)
	p.store.active++
	x.share()
}

// share gives every pull its part of the bandwidth.
func (x *transfers) share() {
	for _, p := range x.active {
		p.rate = min(p.store.bandwidth/float64(p.store.active), x.registry/float64(len(x.active)))
	}
}

// finished removes and returns the pulls that are done at now, in order of start.
func (x *transfers) finished(now time.Time) []*pull {
	x.advance(now)
	const rest = 1 // byte: what rounding of times leaves over
	var done []*pull
	x.active = slices.DeleteFunc(x.active, func(p *pull) bool {
		if p.left > rest {
			return false
		}
		done = append(done, p)
		p.store.active--
		return true
	})
	if len(done) > 0 {
		x.share()
	}
	return done
}

// next returns when the first pull will be done as things stand; zero when none runs or the registry does not answer.
func (x *transfers) next() time.Time {
	best := -1.0
	for _, p := range x.active {
		if p.rate <= 0 {
			continue
		}
		if s := max(p.left, 0) / p.rate; best < 0 || s < best {
			best = s
		}
	}
	if best < 0 {
		return time.Time{}
	}
	return x.now.Add(time.Duration(best*float64(time.Second)) + time.Nanosecond)
}

// imageStore is what one node has of images.
type imageStore struct {
	node      *nodeRecord
	bandwidth float64
	parallel  int
	capacity  int64
	images    map[string]*storedImage
	queue     []*pull // wait for a free slot
	active    int
	tokens    float64 // of the kubelet's limit of pulls
	refilled  time.Time
}

type storedImage struct {
	size    int64
	arrived time.Time
	used    time.Time
	took    time.Duration // transfer alone, and with waiting
	waited  time.Duration
}

func newImageStore(g *NodeGroup) *imageStore {
	s := &imageStore{bandwidth: nodeBandwidth, parallel: 1, images: map[string]*storedImage{}, tokens: registryBurst}
	if g == nil {
		return s
	}
	if g.PullBandwidth > 0 {
		s.bandwidth = g.PullBandwidth
	}
	s.parallel = g.MaxParallelPulls
	disk := g.Capacity["ephemeral-storage"]
	s.capacity = disk.Value()
	for _, ref := range g.PrePulled {
		s.images[ref] = &storedImage{}
	}
	return s
}

// find returns the pull of ref that is under way or queued.
func (s *imageStore) find(x *transfers, ref string) *pull {
	for _, p := range s.queue {
		if p.ref == ref {
			return p
		}
	}
	for _, p := range x.active {
		if p.store == s && p.ref == ref {
			return p
		}
	}
	return nil
}

// allow takes a token of the kubelet's limit of pulls.
func (s *imageStore) allow(now time.Time) bool {
	if !s.refilled.IsZero() {
		s.tokens = min(registryBurst, s.tokens+max(now.Sub(s.refilled).Seconds(), 0)*registryQPS)
	}
	s.refilled = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// Thresholds of image garbage collection: kubelet's defaults.
const (
	imageGCHigh   = 0.85
	imageGCLow    = 0.80
	imageGCMinAge = 2 * time.Minute
)

// collect removes the images unused for longest until the disk is below the low mark, if it is above the high one.
// inUse names images that containers run from.
func (s *imageStore) collect(used int64, inUse map[string]bool, now time.Time) {
	var total int64
	refs := make([]string, 0, len(s.images))
	for ref, i := range s.images {
		total += i.size
		refs = append(refs, ref)
	}
	if s.capacity <= 0 || float64(total+used) < imageGCHigh*float64(s.capacity) {
		return
	}
	slices.SortFunc(refs, func(a, b string) int {
		if c := s.images[a].used.Compare(s.images[b].used); c != 0 {
			return c
		}
		if a < b {
			return -1
		}
		return 1
	})
	for _, ref := range refs {
		if float64(total+used) <= imageGCLow*float64(s.capacity) {
			return
		}
		if i := s.images[ref]; !inUse[ref] && now.Sub(i.arrived) >= imageGCMinAge {
			total -= i.size
			delete(s.images, ref)
		}
	}
}
