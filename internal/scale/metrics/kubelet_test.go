package metrics

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// answer is what a kubelet of Kubernetes 1.37 writes, shortened.
const answer = `# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="app",namespace="shop",pod="web"} %g %d
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="app",namespace="shop",pod="web"} 6.7108864e+07 %d
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="app",namespace="shop",pod="web"} 1.7672256e+09
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total %g %d
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 1.073741824e+09 %d
# TYPE scrape_error gauge
scrape_error 0
`

// kubelet is a node whose kubelet answers as long as up says so; each answer is 15 s and 3 core-seconds further.
func kubelet(t *testing.T, name string, up *atomic.Bool) corev1.Node {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !up.Load() || r.URL.Path != "/metrics/resource" {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		i := n.Add(1)
		ms, cpu := epoch.UnixMilli()+i*15000, float64(100+3*i)
		fmt.Fprintf(w, answer, cpu, ms, ms, cpu, ms, ms)
	}))
	t.Cleanup(s.Close)
	host, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	number, _ := strconv.Atoi(port)
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "nowhere.invalid"}, {Type: corev1.NodeInternalIP, Address: host}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(number)}},
	}}
}

func scraper(nodes ...corev1.Node) *Kubelets {
	client := httptest.NewTLSServer(http.NotFoundHandler()).Client()
	return &Kubelets{Client: client, Resolution: DefaultResolution, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Nodes: func(ctx context.Context) ([]corev1.Node, error) { return nodes, nil }}
}

func TestTwoRoundsOfAKubeletGiveUsageAndReadiness(t *testing.T) {
	t.Parallel()
	var up atomic.Bool
	up.Store(true)
	k := scraper(kubelet(t, "n", &up))
	if k.Ready() == nil {
		t.Error("ready before any round")
	}
	k.round(t.Context())
	if _, ok := k.Snapshot(time.Now()).Pod(web); ok || k.Ready() == nil {
		t.Error("ready or with usage after one round")
	}
	k.round(t.Context())
	u, ok := k.Snapshot(time.Now()).Pod(web)
	if !ok || u.Containers["app"].CPU != 200_000_000 || u.Containers["app"].Memory != 64<<20 || u.Window != 15*time.Second {
		t.Errorf("usage %+v, %t; want 0.2 cores and 64Mi over 15 s", u, ok)
	}
	if n, ok := k.Snapshot(time.Now()).Node("n"); !ok || n.CPU != 200_000_000 {
		t.Errorf("node usage %+v, %t", n, ok)
	}
	if err := k.Ready(); err != nil {
		t.Errorf("not ready after two rounds: %v", err)
	}
}

func TestLosingMostNodesForThreeRoundsMakesTheAPIUnready(t *testing.T) {
	t.Parallel()
	var one, two, three atomic.Bool
	one.Store(true)
	two.Store(true)
	three.Store(true)
	k := scraper(kubelet(t, "a", &one), kubelet(t, "b", &two), kubelet(t, "c", &three))
	k.round(t.Context())
	k.round(t.Context())
	one.Store(false)
	k.round(t.Context())
	if err := k.Ready(); err != nil {
		t.Errorf("one lost node of three: %v", err)
	}
	two.Store(false)
	for round := range 3 {
		if err := k.Ready(); err != nil {
			t.Errorf("after %d blind rounds: %v", round, err)
		}
		k.round(t.Context())
	}
	if k.Ready() == nil {
		t.Error("still ready after three rounds without most nodes")
	}
	two.Store(true)
	k.round(t.Context())
	if err := k.Ready(); err != nil {
		t.Errorf("not ready again: %v", err)
	}
}

func TestMalformedAnswerFailsTheNodeAlone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"container_cpu_usage_seconds_total{", "node_cpu_usage_seconds_total not-a-number\n"} {
		if r, err := parse(strings.NewReader(text), epoch); err == nil {
			t.Errorf("%q is read as %+v", text, r)
		}
	}
}
