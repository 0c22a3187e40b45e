package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// scrapeTimeout bounds the answer of one kubelet.
	scrapeTimeout = 10 * time.Second
	// scrapeBytesMax bounds its size; 110 pods make some 100 KB.
	scrapeBytesMax = 64 << 20
	// scrapesAtOnce bounds the open connections.
	scrapesAtOnce = 100
	// jitterPerNode and jitterMax spread a round over time.
	jitterPerNode = 8 * time.Millisecond
	jitterMax     = 4 * time.Second
	// kubeletPort is where a kubelet listens unless its node says otherwise.
	kubeletPort = 10250
	// readyAfter is how many rounds must have succeeded before the API answers: a rate takes two readings.
	readyAfter = 2
	// blindRounds is for how many rounds in a row more than half of the nodes may be silent.
	blindRounds = 3
)

// Kubelets scrapes every node on the resolution's beat. Run it on every replica: each serves reads.
type Kubelets struct {
	// Nodes lists the nodes of the cluster.
	Nodes func(context.Context) ([]corev1.Node, error)
	// Client reaches kubelets: TLS and credentials.
	Client *http.Client
	// Addresses are the types of node addresses to try, in order; empty = AddressTypes.
	Addresses []string
	// Resolution is the time between rounds; 0 is DefaultResolution.
	Resolution time.Duration
	Log        *slog.Logger

	latest  atomic.Pointer[Snapshot]
	health  atomic.Pointer[health]
	state   State // of Run alone
	rounds  int
	blinded int
}

type health struct{ why error }

// Snapshot implements Source.
func (k *Kubelets) Snapshot(time.Time) *Snapshot {
	if s := k.latest.Load(); s != nil {
		return s
	}
	return &Snapshot{}
}

// Ready reports why reads would mislead: fewer than two rounds, or most nodes silent for three.
func (k *Kubelets) Ready() error {
	if h := k.health.Load(); h != nil {
		return h.why
	}
	return errNoRounds
}

var errNoRounds = errors.New("metrics: fewer than two rounds of readings so far")

// Run scrapes until ctx ends.
func (k *Kubelets) Run(ctx context.Context) error {
	if k.Resolution <= 0 {
		k.Resolution = DefaultResolution
	}
	t := time.NewTicker(k.Resolution)
	defer t.Stop()
	for {
		k.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// round reads all nodes once and publishes what follows.
func (k *Kubelets) round(ctx context.Context) {
	began := time.Now()
	nodes, err := k.Nodes(ctx)
	if err != nil {
		k.Log.Warn("metrics: the nodes cannot be listed; the last readings stay", "error", err)
		return
	}
	round, failed := k.scrapeAll(ctx, nodes)
	if ctx.Err() != nil {
		return
	}
	k.state = k.state.Advance(round, time.Now(), k.Resolution)
	snapshot := k.state.Snapshot()
	k.latest.Store(snapshot)
	k.judge(len(nodes), failed)
	points(snapshot)
	tickSeconds.Observe(time.Since(began).Seconds())
}

// judge updates readiness after a round.
func (k *Kubelets) judge(nodes, failed int) {
	if failed*2 > nodes {
		k.blinded++
	} else {
		k.blinded = 0
		k.rounds++
	}
	switch {
	case k.rounds < readyAfter:
		k.health.Store(&health{errNoRounds})
	case k.blinded >= blindRounds:
		k.health.Store(&health{fmt.Errorf("metrics: %d of %d nodes have not answered for %d rounds", failed, nodes, k.blinded)})
	default:
		k.health.Store(&health{})
	}
}

func (k *Kubelets) scrapeAll(ctx context.Context, nodes []corev1.Node) (map[string]*Reading, int) {
	round := make(map[string]*Reading, len(nodes))
	var mu sync.Mutex
	var g sync.WaitGroup
	slots := make(chan struct{}, scrapesAtOnce)
	failed := 0
	spread := min(time.Duration(len(nodes))*jitterPerNode, jitterMax)
	for i := range nodes {
		n := &nodes[i]
		delay := time.Duration(i) * spread / time.Duration(max(len(nodes), 1))
		g.Go(func() {
			if !sleep(ctx, delay) {
				return
			}
			slots <- struct{}{}
			r, err := k.scrape(ctx, n)
			<-slots
			mu.Lock()
			defer mu.Unlock()
			if round[n.Name] = r; err != nil {
				failed++
				k.Log.Warn("metrics: a node does not answer; its pods lose their metrics after two more rounds", "node", n.Name, "error", err)
			}
		})
	}
	g.Wait()
	return round, failed
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (k *Kubelets) scrape(ctx context.Context, n *corev1.Node) (_ *Reading, err error) {
	began := time.Now()
	defer func() {
		requestSeconds.WithLabelValues(n.Name).Observe(time.Since(began).Seconds())
		requests.WithLabelValues(strconv.FormatBool(err == nil)).Inc()
	}()
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	types := k.Addresses
	if len(types) == 0 {
		types = AddressTypes()
	}
	host, err := nodeAddress(n, types)
	if err != nil {
		return nil, err
	}
	port := int(n.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = kubeletPort
	}
	url := "https://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/metrics/resource"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return parse(io.LimitReader(resp.Body, scrapeBytesMax), time.Now())
}

// AddressTypes are the types of node addresses in the order in which they are tried by default: what needs no name
// server first, as metrics-server's own manifests have it.
func AddressTypes() []string {
	return []string{string(corev1.NodeInternalIP), string(corev1.NodeInternalDNS), string(corev1.NodeHostName), string(corev1.NodeExternalIP), string(corev1.NodeExternalDNS)}
}

// nodeAddress is the first address of the first type that the node has.
func nodeAddress(n *corev1.Node, types []string) (string, error) {
	for _, t := range types {
		for _, a := range n.Status.Addresses {
			if string(a.Type) == t && a.Address != "" {
				return a.Address, nil
			}
		}
	}
	return "", fmt.Errorf("the node has no address of type %s", strings.Join(types, ", "))
}
