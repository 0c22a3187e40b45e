package kubelet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
)

// cluster is one node with one pod behind a kubelet endpoint.
type cluster struct {
	mu     sync.Mutex
	pod    *corev1.Pod
	logs   *Logs
	server *Server
	dialer *vnet.Dialer
	client *http.Client
}

func (c *cluster) current() *corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pod
}

// change replaces the pod and tells the server.
func (c *cluster) change(f func(*corev1.Pod)) {
	c.mu.Lock()
	next := c.pod.DeepCopy()
	f(next)
	c.pod = next
	c.mu.Unlock()
	c.server.Changed(next)
}

func start(t *testing.T, secure bool) *cluster {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.112.0.2"}},
		Capacity:  corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110")}}}
	began := metav1.NewTime(time.Now().Add(-time.Minute).Truncate(time.Second))
	c := &cluster{logs: &Logs{}, pod: &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1"},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: "example.com/app:v1",
			Ports:     []corev1.ContainerPort{{ContainerPort: 8080}},
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.128.0.5", PodIPs: []corev1.PodIP{{IP: "10.128.0.5"}}, HostIP: "10.112.0.2",
			ContainerStatuses: []corev1.ContainerStatus{{Name: "app", ContainerID: "containerd://abc",
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}}}},
	}}
	tables := &vnet.Tables{}
	tables.SetNode(node)
	tables.SetPod(c.pod)
	universal := &vnet.Universal{}
	c.dialer = &vnet.Dialer{Network: &vnet.Network{}, Tables: tables, Pods: universal.Port}
	o := Options{
		Node: tables.NodeAt,
		Pods: func(string) []*corev1.Pod { return []*corev1.Pod{c.current()} },
		Pod: func(namespace, name string) *corev1.Pod {
			if p := c.current(); p != nil && p.Namespace == namespace && p.Name == name {
				return p
			}
			return nil
		},
		Stats: func(_ string, at time.Time) (virtual.NodeStats, error) {
			age := at.Sub(began.Time)
			return virtual.NodeStats{Node: "n1", At: at, Started: began.Time, CPUNanoseconds: uint64(age) / 2, WorkingSetBytes: 200 << 20,
				Pods: []virtual.PodStats{{Namespace: "shop", Name: "web", Pod: c.current(), Containers: []virtual.ContainerStats{{
					Name: "app", Started: began.Time, CPUNanoseconds: uint64(age) / 4, WorkingSetBytes: 50 << 20}}}}}, nil
		},
		Logs: c.logs,
		Dial: func(ctx context.Context, pod *corev1.Pod, port uint16) (net.Conn, error) {
			return c.dialer.Dial(ctx, vnet.From{Pod: pod}, "tcp", fmt.Sprintf("localhost:%d", port))
		},
	}
	if secure {
		var err error
		if o.TLS, err = vnet.Identity("n1"); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.server = s
	c.dialer.ServeKubelets(func(string) func(net.Conn) { return s.Serve })
	transport := &http.Transport{DialContext: c.dialer.DialContext(vnet.From{})}
	c.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.Close()
		universal.Close()
	})
	return c
}

const base = "http://10.112.0.2:10250"

func (c *cluster) get(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := c.client.Get(base + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func TestLogsAreShownAsAsked(t *testing.T) {
	t.Parallel()
	c := start(t, false)
	began := c.current().Status.ContainerStatuses[0].State.Running.StartedAt.Time
	c.logs.Scripted = func(_ *corev1.Pod, _ *corev1.Container, restart int32, started time.Time) []LogLine {
		return []LogLine{{At: started, Text: "one"}, {At: started.Add(time.Second), Text: "two", Stderr: true}, {At: started.Add(time.Hour), Text: "later"}}
	}
	c.logs.Append(Instance{"u1", "app", 0}, LogLine{At: began.Add(2 * time.Second), Text: "three"})
	stamp := func(after time.Duration) string { return began.Add(after).UTC().Format(logTime) }
	for query, want := range map[string]string{
		"":                                "one\ntwo\nthree\n",
		"?tailLines=1":                    "three\n",
		"?tailLines=0":                    "",
		"?tail=2":                         "two\nthree\n",
		"?limitBytes=5":                   "one\nt",
		"?limitBytes=4":                   "one\n",
		"?timestamps=true&tailLines=1":    stamp(2*time.Second) + " three\n",
		"?stream=Stderr":                  "two\n",
		"?stream=Stdout":                  "one\nthree\n",
		"?sinceSeconds=3600":              "one\ntwo\nthree\n",
		"?sinceTime=2999-01-01T00:00:00Z": "",
		"?sinceTime=" + url.QueryEscape(began.Add(time.Second).Format(time.RFC3339)): "two\nthree\n",
	} {
		if code, got := c.get(t, "/containerLogs/shop/web/app"+query); code != 200 || got != want {
			t.Errorf("%s: %d %q; want %q", query, code, got, want)
		}
	}
	for path, want := range map[string]int{
		"/containerLogs/shop/web/app?tailLines=-1":   422,
		"/containerLogs/shop/web/app?tailLines=many": 422,
		"/containerLogs/shop/web/app?sinceTime=now":  422,
		"/containerLogs/shop/web/nosuch":             404,
		"/containerLogs/shop/nosuch/app":             404,
		"/containerLogs/other/web/app":               404,
		"/containerLogs/shop/web/app?previous=true":  400,
		"/nosuch": 404,
	} {
		if code, body := c.get(t, path); code != want {
			t.Errorf("%s: %d %s; want %d", path, code, body, want)
		}
	}
}

func TestLogsOfContainersThatDoNotRunSayWhy(t *testing.T) {
	t.Parallel()
	c := start(t, false)
	c.logs.Scripted = func(_ *corev1.Pod, _ *corev1.Container, restart int32, started time.Time) []LogLine {
		return []LogLine{{At: started, Text: fmt.Sprintf("run %d", restart)}}
	}
	gone := &corev1.ContainerStateTerminated{ContainerID: "containerd://old", StartedAt: metav1.Now(), FinishedAt: metav1.Now()}
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	for _, x := range []struct {
		state, last corev1.ContainerState
		restarts    int32
		query, want string
	}{
		{waiting("ContainerCreating"), corev1.ContainerState{}, 0, "", `container "app" in pod "web" is waiting to start: ContainerCreating`},
		{waiting("ErrImagePull"), corev1.ContainerState{}, 0, "", `container "app" in pod "web" is waiting to start: image can't be pulled`},
		{waiting("ImagePullBackOff"), corev1.ContainerState{}, 0, "", `container "app" in pod "web" is waiting to start: trying and failing to pull image`},
		{waiting("CrashLoopBackOff"), corev1.ContainerState{Terminated: gone}, 2, "", "run 2"},
		{corev1.ContainerState{Terminated: gone}, corev1.ContainerState{}, 0, "", "run 0"},
		{corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, corev1.ContainerState{Terminated: gone}, 3, "?previous=true", "run 2"},
		{corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, corev1.ContainerState{}, 0, "?previous=true",
			`previous terminated container "app" in pod "web" not found`},
	} {
		c.change(func(p *corev1.Pod) {
			s := &p.Status.ContainerStatuses[0]
			s.State, s.LastTerminationState, s.RestartCount = x.state, x.last, x.restarts
		})
		if _, got := c.get(t, "/containerLogs/shop/web/app"+x.query); strings.TrimSpace(got) != x.want {
			t.Errorf("%q; want %q", got, x.want)
		}
	}
}

func TestAFollowedLogComesAsItIsWrittenAndEndsWithItsContainer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := start(t, false)
		c.logs.Scripted = func(_ *corev1.Pod, _ *corev1.Container, _ int32, started time.Time) []LogLine {
			return []LogLine{{At: started, Text: "first"}, {At: started.Add(2 * time.Minute), Text: "scripted"}}
		}
		r, err := c.client.Get(base + "/containerLogs/shop/web/app?follow=true")
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(r.Body)
		next := func(want string) {
			t.Helper()
			if got, err := lines.ReadString('\n'); err != nil || got != want+"\n" {
				t.Fatalf("%q, %v; want %q", got, err, want)
			}
		}
		next("first")
		began := time.Now()
		c.logs.Append(Instance{"u1", "app", 0}, LogLine{At: time.Now(), Text: "appended"})
		next("appended")
		if waited := time.Since(began); waited != 0 {
			t.Fatalf("an appended line took %v", waited)
		}
		next("scripted")
		if waited := time.Since(began); waited <= 0 || waited > time.Minute {
			t.Fatalf("the scripted line came after %v; want within a minute", waited)
		}
		c.change(func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ContainerID: "containerd://abc", FinishedAt: metav1.Now()}}
		})
		if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
			t.Fatalf("after the end: %q, %v", rest, err)
		}
		r.Body.Close()
		if len(c.server.watchers) != 0 {
			t.Fatal("the follower is still registered")
		}
		c.client.CloseIdleConnections()
		c.server.Close()
	})
}

func TestKeptLogsAreBounded(t *testing.T) {
	t.Parallel()
	l := &Logs{}
	line := strings.Repeat("x", 1000)
	for pod := range 300 {
		for range 400 {
			l.Append(Instance{fmt.Sprint(pod), "c", 0}, LogLine{Text: line})
		}
	}
	held := 0
	for i, e := range l.instances {
		held += e.bytes
		if e.bytes > instanceBytes {
			t.Fatalf("%v holds %d bytes", i, e.bytes)
		}
	}
	if held > totalBytes || held != l.bytes {
		t.Fatalf("%d bytes held, %d counted; want at most %d", held, l.bytes, totalBytes)
	}
	for restart := range int32(5) {
		l.Append(Instance{"299", "c", restart}, LogLine{Text: "x"})
	}
	if l.instances[Instance{"299", "c", 2}] != nil || l.instances[Instance{"299", "c", 3}] == nil {
		t.Fatal("the current and the previous instance are kept, no others")
	}
	l.Forget("299")
	if l.instances[Instance{"299", "c", 4}] != nil {
		t.Fatal("a forgotten pod's log is still there")
	}
}

// real exposes the node's endpoint on a socket, for clients that cannot be given a dialer.
func (c *cluster) real(t *testing.T) *url.URL {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var copies sync.WaitGroup
	copies.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := c.dialer.Dial(ctx, vnet.From{}, "tcp", "10.112.0.2:10250")
			if err != nil {
				near.Close()
				continue
			}
			copies.Go(func() { vnet.Splice(ctx, near, far) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		copies.Wait()
	})
	return &url.URL{Scheme: "https", Host: l.Addr().String()}
}

func TestExecAndAttachAreRefusedWithAReasonTheUserSees(t *testing.T) {
	t.Parallel()
	c := start(t, true)
	config := &rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	for path, verb := range map[string]string{"/exec/shop/web/app": "exec", "/attach/shop/web/u1/app": "attach"} {
		u := c.real(t)
		u.Path = path
		u.RawQuery = "command=ls&output=1&error=1"
		executor, err := remotecommand.NewSPDYExecutor(config, "POST", u)
		if err != nil {
			t.Fatal(err)
		}
		err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
		if err == nil || !strings.Contains(err.Error(), verb+" is not available on a virtual node") || !strings.Contains(err.Error(), "shop/web") {
			t.Errorf("%s: %v; want the reason", path, err)
		}
	}
	r, err := start(t, false).client.Post(base+"/run/shop/web/app?cmd=ls", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusNotImplemented || !strings.Contains(string(body), "run is not available") {
		t.Errorf("run: %s %s", r.Status, body)
	}
}

func TestPortForwardReachesThePodsPorts(t *testing.T) {
	t.Parallel()
	c := start(t, true)
	u := c.real(t)
	u.Path = "/portForward/shop/web"
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u)
	var problems bytes.Buffer
	forward, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:8080", "0:81"}, stop, ready, io.Discard, &problems)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forward.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	ports, err := forward.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 3 {
		r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(body) != "ok\n" {
			t.Fatalf("%q", body)
		}
	}
	if _, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[1].Local)); err == nil {
		t.Error("a port nobody listens on answered")
	}
	close(stop)
	if err := <-ended; err != nil && !strings.Contains(err.Error(), "lost connection") {
		t.Error(err)
	}
}

func TestMetricsAreWellFormedAndTrue(t *testing.T) {
	t.Parallel()
	c := start(t, false)
	for path, want := range map[string]map[string]float64{
		"/metrics/resource": {"node_memory_working_set_bytes": 200 << 20, "container_memory_working_set_bytes": 50 << 20,
			"pod_memory_working_set_bytes": 50 << 20, "resource_scrape_error": 0, "container_cpu_usage_seconds_total": -1,
			"node_cpu_usage_seconds_total": -1, "container_start_time_seconds": -1, "pod_cpu_usage_seconds_total": -1},
		"/metrics/cadvisor": {"container_spec_memory_limit_bytes": 64 << 20, "container_memory_rss": 50 << 20, "machine_cpu_cores": 8},
		"/metrics":          {"kubelet_running_pods": 1, "kubelet_node_name": 1, "kubelet_running_containers": -1},
		"/metrics/probes":   {},
	} {
		_, body := c.get(t, path)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(body))
		if err != nil {
			t.Errorf("%s: %v\n%s", path, err, body)
		}
		for name, value := range want {
			f := families[name]
			if f == nil || len(f.Metric) == 0 {
				t.Errorf("%s has no %s", path, name)
				continue
			}
			got := f.Metric[0].GetGauge().GetValue() + f.Metric[0].GetCounter().GetValue()
			if value >= 0 && got != value || value < 0 && len(f.Metric) == 0 {
				t.Errorf("%s: %s is %v; want %v", path, name, got, value)
			}
		}
	}
}

func TestNodeDocumentsAreThoseOfAKubelet(t *testing.T) {
	t.Parallel()
	c := start(t, false)
	var summary stats.Summary
	_, body := c.get(t, "/stats/summary")
	if err := json.Unmarshal([]byte(body), &summary); err != nil {
		t.Fatal(err)
	}
	if len(summary.Pods) != 1 || *summary.Pods[0].Containers[0].CPU.UsageNanoCores != 250000000 || *summary.Node.CPU.UsageNanoCores != 500000000 {
		t.Errorf("summary %s", body)
	}
	for _, path := range []string{"/pods", "/runningpods/"} {
		var list corev1.PodList
		_, body := c.get(t, path)
		if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Items) != 1 || list.Kind != "PodList" {
			t.Errorf("%s: %v %s", path, err, body)
		}
	}
	if code, body := c.get(t, "/healthz"); code != 200 || body != "ok" {
		t.Errorf("healthz: %d %s", code, body)
	}
	if _, body := c.get(t, "/configz"); !strings.Contains(body, `"maxPods":110`) || !strings.Contains(body, `"clusterDomain":"cluster.local"`) {
		t.Errorf("configz: %s", body)
	}
	far, near := vnet.Pair(net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.112.0.99:10250")), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.112.0.1:1")))
	go c.server.Serve(far)
	_, _ = io.WriteString(near, "GET /healthz HTTP/1.0\r\n\r\n")
	if answer, _ := io.ReadAll(near); !strings.Contains(string(answer), "404") {
		t.Errorf("a node that does not exist answers %q", answer)
	}
}

func TestLogsShowWhatTheCommandWrites(t *testing.T) {
	t.Parallel()
	c := start(t, false)
	c.logs.Scripted = Scripted(program.NewBook(&program.Rules{Defaults: program.DefaultsUp()}), 1)
	c.change(func(p *corev1.Pod) {
		p.Spec.Containers[0].Image = "busybox"
		p.Spec.Containers[0].Command = []string{"sh", "-c", "echo hello; sleep 5; echo world >&2; sleep 3600; echo never"}
	})
	if _, got := c.get(t, "/containerLogs/shop/web/app"); got != "hello\nworld\n" {
		t.Errorf("%q", got)
	}
}
