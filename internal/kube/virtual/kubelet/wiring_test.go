package kubelet

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"

	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
)

// plane is a control plane with an engine, a network and kubelet endpoints; a process can have one.
type plane struct {
	client kubernetes.Interface
	config *rest.Config // of other programs: real TLS
	dialer *vnet.Dialer
	book   *program.Book
	err    error
}

var wired = sync.OnceValue(func() plane {
	ctx := context.Background()
	answers := &vnet.Universal{}
	book := program.NewBook(&program.Rules{Defaults: program.DefaultsUp()})
	book.Serve, book.With = answers.Serve, answers.With
	d := &vnet.Dialer{Network: &vnet.Network{}, Tables: &vnet.Tables{}, Pods: book.Port}
	p, err := controlplane.Start(ctx, controlplane.Options{Dialer: d.DialContext(vnet.From{})})
	if err != nil {
		return plane{err: err}
	}
	client, err := kubernetes.NewForConfig(p.ConfigAs("fairway-nodes", "system:masters"))
	if err != nil {
		return plane{err: err}
	}
	f := informers.NewSharedInformerFactory(client, 0)
	engine, err := virtual.New(virtual.Options{Client: client, Informers: f, PodStart: 100 * time.Millisecond, Behaviour: book, OnHook: NewHooks(d).Send,
		NodeGroups: []virtual.NodeGroup{{Name: "web", Size: 2}}})
	if err != nil {
		return plane{err: err}
	}
	core := f.Core().V1()
	if _, err := d.Tables.Observe(core.Pods().Informer(), core.Nodes().Informer(), core.Services().Informer(), f.Discovery().V1().EndpointSlices().Informer()); err != nil {
		return plane{err: err}
	}
	if _, err := Wire(Parts{Engine: engine, Pods: core.Pods().Informer(), Dialer: d, Book: book}); err != nil {
		return plane{err: err}
	}
	f.Start(ctx.Done())
	go engine.Run(ctx)
	config, err := clientcmd.RESTConfigFromKubeConfig(p.Kubeconfig())
	return plane{client: client, config: config, dialer: d, book: book, err: err}
})

// webPod makes a pod that serves on 8080 and prints two lines, behind a Service, and waits until it is ready.
func webPod(t *testing.T) (plane, *corev1.Pod) {
	t.Helper()
	p := wired()
	if p.err != nil {
		t.Fatal(p.err)
	}
	ns := strings.ToLower(t.Name())
	ns = ns[:min(len(ns), 50)]
	ctx := t.Context()
	if _, err := p.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.CoreV1().Services(ns).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "front"},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{
			{Name: "app", Image: "example.com/app:v1", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}},
			{Name: "log", Image: "busybox", Command: []string{"sh", "-c", "echo hello; echo world; while true; do sleep 1; done"}},
		}}}
	if _, err := p.client.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		var err error
		if pod, err = p.client.CoreV1().Pods(ns).Get(ctx, "web", metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return ""
			}
		}
		return fmt.Sprintf("pod is %s %+v", pod.Status.Phase, pod.Status.Conditions)
	})
	return p, pod
}

func TestLogsComeWholeOverAWebSocket(t *testing.T) {
	t.Parallel()
	p, pod := webPod(t)
	secure, err := rest.TLSConfigFor(p.config)
	if err != nil {
		t.Fatal(err)
	}
	at := "wss" + strings.TrimPrefix(p.config.Host, "https") + "/api/v1/namespaces/" + pod.Namespace + "/pods/web/log?container=log"
	c, err := websocket.NewConfig(at, "http://localhost")
	if err != nil {
		t.Fatal(err)
	}
	c.TlsConfig, c.Protocol = secure, []string{"binary.k8s.io"}
	for range 20 { // whether data and end come together is chance
		ws, err := websocket.DialConfig(c)
		if err != nil {
			plain, other := p.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "log"}).DoRaw(t.Context())
			t.Fatalf("%v; without a web socket: %q, %v", err, plain, other)
		}
		text, err := io.ReadAll(ws)
		if ws.Close(); err != nil || string(text) != "hello\nworld\n" {
			t.Fatalf("the log is %q, %v", text, err)
		}
	}
}

func TestHTTPHooksReachTheServerTheyAsk(t *testing.T) {
	t.Parallel()
	p, ns := wired(), "hooks"
	if p.err != nil {
		t.Fatal(p.err)
	}
	ctx, pods := t.Context(), p.client.CoreV1().Pods(ns)
	if _, err := p.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	run := func(name, image string, args []string, hooks *corev1.Lifecycle) (ip string) {
		_, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: image, Args: args, Lifecycle: hooks}}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			pod, err := pods.Get(ctx, name, metav1.GetOptions{})
			if err != nil || pod.Status.Phase != corev1.PodRunning {
				return fmt.Sprintf("pod %s is %v, %v", name, pod.Status.Phase, err)
			}
			ip = pod.Status.PodIP
			return ""
		})
		return ip
	}
	logged := func(want string) {
		eventually(t, func() string {
			text, err := pods.GetLogs("server", &corev1.PodLogOptions{}).DoRaw(ctx)
			if err != nil || !strings.Contains(string(text), want) {
				return fmt.Sprintf("no %q in the server's log %q, %v", want, text, err)
			}
			return ""
		})
	}
	server := run("server", "registry.k8s.io/e2e-test-images/agnhost:2.63.0", []string{"netexec"}, nil)
	get := func(say string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Host: server, Port: intstr.FromInt32(8080), Path: "/echo?msg=" + say}}
	}
	run("client", "registry.k8s.io/pause:3.10", nil, &corev1.Lifecycle{PostStart: get("begun"), PreStop: get("ending")})
	logged("GET /echo?msg=begun")
	if err := pods.Delete(ctx, "client", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	logged("GET /echo?msg=ending")
}

func TestAPostStartThatCannotConnectRestartsItsContainer(t *testing.T) {
	t.Parallel()
	p, ns := wired(), "failing-hook"
	if p.err != nil {
		t.Fatal(p.err)
	}
	ctx, pods := t.Context(), p.client.CoreV1().Pods(ns)
	if _, err := p.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	nobody := &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Host: "10.200.0.77", Port: intstr.FromInt32(8080)}}
	if _, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "app", Image: "registry.k8s.io/pause:3.10", Lifecycle: &corev1.Lifecycle{PostStart: nobody}}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		pod, err := pods.Get(ctx, "p", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if s := pod.Status.ContainerStatuses; len(s) == 0 || s[0].RestartCount == 0 {
			return fmt.Sprintf("no restart: %+v", s)
		}
		return ""
	})
}

func eventually(t *testing.T, missing func() string) {
	t.Helper()
	const patience = 90 * time.Second
	what := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if what = missing(); what == "" {
			return
		}
	}
	t.Fatalf("after %v: %s", patience, what)
}

func TestAPIServerReachesPodsServicesAndNodesThroughTheNetwork(t *testing.T) {
	t.Parallel()
	p, pod := webPod(t)
	ctx := t.Context()
	core := p.client.CoreV1()
	for what, get := range map[string]func() ([]byte, error){
		"pod proxy": func() ([]byte, error) {
			return core.RESTClient().Get().Namespace(pod.Namespace).Resource("pods").Name("web:8080").SubResource("proxy").DoRaw(ctx)
		},
		"service proxy": func() ([]byte, error) {
			return core.Services(pod.Namespace).ProxyGet("http", "front", "80", "/", nil).DoRaw(ctx)
		},
		"node proxy": func() ([]byte, error) {
			return core.RESTClient().Get().Resource("nodes").Name(pod.Spec.NodeName).SubResource("proxy").Suffix("healthz").DoRaw(ctx)
		},
		"service by name": func() ([]byte, error) {
			client := &http.Client{Transport: &http.Transport{DialContext: p.dialer.DialContext(vnet.From{Pod: pod}), DisableKeepAlives: true}}
			r, err := client.Get("http://front")
			if err != nil {
				return nil, err
			}
			defer r.Body.Close()
			return io.ReadAll(r.Body)
		},
	} {
		eventually(t, func() string {
			if body, err := get(); err != nil || !strings.HasPrefix(string(body), "ok") {
				return fmt.Sprintf("%s: %q, %v", what, body, err)
			}
			return ""
		})
	}
	metrics, err := core.RESTClient().Get().Resource("nodes").Name(pod.Spec.NodeName).SubResource("proxy").Suffix("metrics/resource").DoRaw(ctx)
	if err != nil || !strings.Contains(string(metrics), fmt.Sprintf("namespace=%q,pod=\"web\"", pod.Namespace)) {
		t.Errorf("metrics: %v\n%s", err, metrics)
	}
}

func TestLogsComeThroughTheAPIServer(t *testing.T) {
	t.Parallel()
	p, pod := webPod(t)
	const printed = "hello\nworld\n"
	eventually(t, func() string { // the pod is ready in the API before the node's own cache has heard of it
		logs, err := p.client.CoreV1().Pods(pod.Namespace).GetLogs("web", &corev1.PodLogOptions{Container: "log"}).DoRaw(t.Context())
		if err != nil || string(logs) != printed {
			return fmt.Sprintf("the log is %q, %v", logs, err)
		}
		return ""
	})
	follow, err := p.client.CoreV1().Pods(pod.Namespace).GetLogs("web", &corev1.PodLogOptions{Container: "log", Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer follow.Close()
	first := make([]byte, len(printed))
	if n, err := io.ReadFull(follow, first); err != nil || string(first) != printed {
		t.Fatalf("a followed log begins with %q, %v", first[:n], err)
	}
	grace := int64(0)
	if err := p.client.CoreV1().Pods(pod.Namespace).Delete(t.Context(), "web", metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(follow); err != nil || len(rest) > 0 {
		t.Errorf("a followed log ends with its pod: %q, %v", rest, err)
	}
}

func TestExecThroughTheAPIServerSaysWhyItIsRefused(t *testing.T) {
	t.Parallel()
	p, pod := webPod(t)
	request := p.client.CoreV1().RESTClient().Post().Namespace(pod.Namespace).Resource("pods").Name("web").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "app", Command: []string{"ls"}, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	u := request.URL()
	u.Scheme, u.Host = "https", strings.TrimPrefix(p.config.Host, "https://")
	for name, make := range map[string]func() (remotecommand.Executor, error){
		"websocket": func() (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(p.config, "GET", u.String())
		},
		"spdy": func() (remotecommand.Executor, error) { return remotecommand.NewSPDYExecutor(p.config, "POST", u) },
	} {
		executor, err := make()
		if err != nil {
			t.Fatal(err)
		}
		err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
		if err == nil || !strings.Contains(err.Error(), "exec is not available on a virtual node") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPortForwardThroughTheAPIServerReachesThePod(t *testing.T) {
	t.Parallel()
	p, pod := webPod(t)
	u := p.client.CoreV1().RESTClient().Post().Namespace(pod.Namespace).Resource("pods").Name("web").SubResource("portforward").URL()
	u.Scheme, u.Host = "https", strings.TrimPrefix(p.config.Host, "https://")
	transport, upgrader, err := spdy.RoundTripperFor(p.config)
	if err != nil {
		t.Fatal(err)
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialer(u, p.config)
	if err != nil {
		t.Fatal(err)
	}
	spdyDialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u)
	for i, dialer := range both(websocket, spdyDialer) {
		stop, ready := make(chan struct{}), make(chan struct{})
		forward, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- forward.ForwardPorts() }()
		select {
		case <-ready:
		case err := <-ended:
			t.Fatal(i, err)
		}
		ports, _ := forward.GetPorts()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := client.Get("http://" + net.JoinHostPort("127.0.0.1", fmt.Sprint(ports[0].Local)))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(body) != "ok\n" {
			t.Errorf("dialer %d: %q", i, body)
		}
		close(stop)
		<-ended
	}
}

// A user's operator runs as a process on this machine; the API server reaches its webhook by the Service of its manifest.
func TestAWebhookServiceReachesAProcessThatStandsForItsPod(t *testing.T) {
	t.Parallel()
	p, pod := webPod(t)
	ctx, ns := t.Context(), pod.Namespace
	identity, err := vnet.Identity("operator." + ns + ".svc")
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp4", "127.0.0.1:0", identity)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Message: "the operator says no"}}
		review.Request = nil
		_ = json.NewEncoder(w).Encode(review)
	})}
	go server.Serve(l)
	defer server.Close()

	rules := *p.book.Rules()
	if err := rules.AddFlag(fmt.Sprintf("*/operator=local:%d", l.Addr().(*net.TCPAddr).Port), program.Source{}); err != nil {
		t.Fatal(err)
	}
	p.book.Set(&rules)
	core := p.client.CoreV1()
	labels := map[string]string{"app": "operator"}
	if _, err := core.Services(ns).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "operator"},
		Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromString("webhook")}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Pods(ns).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "operator", Labels: labels}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "manager", Image: "example.com/operator:v1", Ports: []corev1.ContainerPort{{Name: "webhook", ContainerPort: 9443}}}}}},
		metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	none, fail := admissionregistration.SideEffectClassNone, admissionregistration.Fail
	hook := admissionregistration.ValidatingWebhook{Name: "say.no.example.com", SideEffects: &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"},
		ClientConfig: admissionregistration.WebhookClientConfig{
			Service:  &admissionregistration.ServiceReference{Namespace: ns, Name: "operator"},
			CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: identity.Certificates[0].Certificate[0]})},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns}},
		Rules: []admissionregistration.RuleWithOperations{{Operations: []admissionregistration.OperationType{admissionregistration.Create},
			Rule: admissionregistration.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}}}}}
	hooks := p.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := hooks.Create(ctx, &admissionregistration.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: ns},
		Webhooks: []admissionregistration.ValidatingWebhook{hook}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer hooks.Delete(context.WithoutCancel(ctx), ns, metav1.DeleteOptions{})
	eventually(t, func() string {
		_, err := core.ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-"}}, metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "the operator says no") {
			return fmt.Sprintf("the webhook was not asked: %v", err)
		}
		return ""
	})
}

func both[T any](a, b T) []T { return []T{a, b} }
