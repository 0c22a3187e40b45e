package virtual

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// byHand is an engine whose events and requests come in the order a test says: nothing runs beside the test. The requests
// reach an API that answers, and shows the engine nothing of what it wrote until the test does.
type byHand struct {
	*Engine
	t       *testing.T
	api     *fake.Clientset
	version int
	nodes   []string       // bodies of the patches of Node statuses
	pods    []v1.PodStatus // in the order written
	deletes int            // of pods
}

func newByHand(t *testing.T) *byHand {
	t.Helper()
	h := &byHand{t: t, api: fake.NewClientset(), version: 10}
	h.api.PrependReactor("patch", "nodes", func(a clienttesting.Action) (bool, runtime.Object, error) {
		h.nodes = append(h.nodes, string(a.(clienttesting.PatchAction).GetPatch()))
		h.version++
		return true, &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "kwok-0", ResourceVersion: strconv.Itoa(h.version)}}, nil
	})
	h.api.PrependReactor("update", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		pod := a.(clienttesting.UpdateAction).GetObject().(*v1.Pod).DeepCopy()
		h.pods = append(h.pods, pod.Status)
		h.version++
		pod.ResourceVersion = strconv.Itoa(h.version)
		return true, pod, nil
	})
	h.api.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		h.deletes++
		return true, nil, nil
	})
	engine, err := New(Options{Client: h.api, Informers: informers.NewSharedInformerFactory(h.api, 0), AtOnce: true, PodStop: -1, PodEvents: EventsNone, Heartbeat: HeartbeatLease})
	if err != nil {
		t.Fatal(err)
	}
	h.Engine = engine
	return h
}

// settleDown decides and writes until nothing is left to do at this instant.
func (h *byHand) settleDown() {
	h.t.Helper()
	const jobsMost = 100
	for range jobsMost {
		h.turn()
		if h.queue.head == len(h.queue.jobs) {
			return
		}
		j, _ := h.queue.take()
		j.run(h.t.Context(), h.Engine)
	}
	h.t.Fatalf("more than %d requests at one instant", jobsMost)
}

// store puts a node into the informer's cache without telling the engine.
func (h *byHand) store(n *v1.Node) {
	h.t.Helper()
	if err := h.opts.Informers.Core().V1().Nodes().Informer().GetStore().Add(n); err != nil {
		h.t.Fatal(err)
	}
}

// kwokNode is a Node of a KWOK user as the API server shows it.
func kwokNode(version int, conditions ...v1.NodeCondition) *v1.Node {
	return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "kwok-0", UID: "node-uid", ResourceVersion: strconv.Itoa(version), Annotations: map[string]string{AnnotationKWOK: "fake"}},
		Status: v1.NodeStatus{Conditions: conditions}}
}

func readyIs(s v1.ConditionStatus) v1.NodeCondition {
	return v1.NodeCondition{Type: v1.NodeReady, Status: s}
}

// started is an engine that drives kwok-0, whose status the API shows.
func started(t *testing.T) *byHand {
	h := newByHand(t)
	node := kwokNode(1, readyIs(v1.ConditionTrue))
	h.store(node)
	h.seeNode(node)
	h.adopt()
	h.settleDown()
	if len(h.nodes) > 0 {
		t.Fatalf("a true status is written again: %v", h.nodes)
	}
	return h
}

func TestNodeWithoutStatusSeenBeforeTheStartGetsOne(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]bool{"its event comes before the start": true, "its event comes after it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, node := newByHand(t), kwokNode(1)
			h.store(node)
			if told {
				h.seeNode(node)
			}
			h.adopt()
			h.settleDown()
			if !told {
				h.seeNode(node)
				h.settleDown()
			}
			if len(h.nodes) != 1 {
				t.Fatalf("the status was written %d times, want once", len(h.nodes))
			}
			for _, want := range []string{`"conditions"`, `"addresses"`, `"capacity"`, `"allocatable"`} {
				if !strings.Contains(h.nodes[0], want) {
					t.Errorf("no %s in %s", want, h.nodes[0])
				}
			}
		})
	}
}

func TestNodeFoundUnreadyAtTheStartIsReportedReady(t *testing.T) {
	t.Parallel()
	h, node := newByHand(t), kwokNode(1, readyIs(v1.ConditionUnknown))
	h.store(node)
	h.seeNode(node)
	h.adopt()
	h.settleDown()
	if len(h.nodes) != 1 {
		t.Fatalf("the status was written %d times, want once", len(h.nodes))
	}
}

func TestForeignNodeConditionSeenDuringALeaseRequestIsCorrected(t *testing.T) {
	t.Parallel()
	h := started(t)
	h.api.PrependReactor("patch", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		h.seeNode(kwokNode(2, readyIs(v1.ConditionUnknown))) // what the controller wrote
		return false, nil, nil
	})
	h.mu.Lock()
	n := h.byNode["kwok-0"]
	n.beat = true
	h.enqueueNode(n)
	h.mu.Unlock()
	h.settleDown()
	if len(h.nodes) != 1 {
		t.Fatalf("the status was written %d times, want once", len(h.nodes))
	}
	h.seeNode(kwokNode(2, readyIs(v1.ConditionUnknown))) // older than our write
	h.settleDown()
	if len(h.nodes) != 1 {
		t.Errorf("an old version of the Node made the engine write %d times", len(h.nodes))
	}
}

func TestNodeStatusThatMetAConflictIsWrittenAgain(t *testing.T) {
	t.Parallel()
	h := newByHand(t)
	h.adopt()
	refuse := true
	h.api.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		defer func() { refuse = false }()
		return refuse, nil, apierrors.NewConflict(v1.Resource("nodes"), "kwok-0", errors.New("somebody else changed it"))
	})
	h.seeNode(kwokNode(1))
	h.settleDown()
	h.mu.Lock()
	n := h.byNode["kwok-0"]
	if n.again.index == 0 {
		t.Error("nobody will try again")
	}
	h.enqueueNode(n) // as the timer does
	h.mu.Unlock()
	h.settleDown()
	if len(h.nodes) != 1 {
		t.Fatalf("the status was written %d times, want once", len(h.nodes))
	}
}

// running is a pod on kwok-0 whose running state was written and whose echo has not come.
func (h *byHand) running() *v1.Pod {
	h.t.Helper()
	pod := simplePod("p", "app")
	pod.Spec.NodeName, pod.ResourceVersion = "kwok-0", "1"
	pod.Status.StartTime = &metav1.Time{Time: h.byNode["kwok-0"].launched}
	h.seePod(pod)
	h.settleDown()
	if len(h.pods) == 0 || h.pods[len(h.pods)-1].Phase != v1.PodRunning {
		h.t.Fatalf("the pod does not run: %+v", h.pods)
	}
	return h.echo(pod)
}

// echo is the pod as the API shows it after the engine's latest write.
func (h *byHand) echo(pod *v1.Pod) *v1.Pod {
	pod = pod.DeepCopy()
	pod.Status, pod.ResourceVersion = h.pods[len(h.pods)-1], strconv.Itoa(h.version)
	return pod
}

func TestContainerKilledBeforeTheEchoOfAWriteIsShownAtTheEcho(t *testing.T) {
	t.Parallel()
	h := started(t)
	echo := h.running()
	for range 2 { // the first restart is at once, the second waits
		if err := h.KillContainer("ns", "p", "", 0, true); err != nil {
			t.Fatal(err)
		}
		h.settleDown()
	}
	h.seePod(echo)
	h.settleDown()
	cs := h.pods[len(h.pods)-1].ContainerStatuses[0]
	if cs.RestartCount != 1 || cs.State.Terminated == nil {
		t.Errorf("the API shows %+v", cs)
	}
}

func TestKillIsNotTakenBackWhenUsageOrBehaviourIsAskedAgain(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(*byHand){
		"usage":     func(h *byHand) { h.Recheck("ns", "p") },
		"behaviour": func(h *byHand) { h.opts.Behaviour = programs{"app": {{TermCode: 7}}}; h.RechooseAll() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := started(t)
			h.seePod(h.running())
			if err := h.KillContainer("ns", "p", "", 0, true); err != nil {
				t.Fatal(err)
			}
			ask(h)
			h.settleDown()
			if cs := h.pods[len(h.pods)-1].ContainerStatuses[0]; cs.RestartCount != 1 {
				t.Errorf("the container lives on: %+v", cs)
			}
		})
	}
}

func TestDeletionOfAPodThatMetAConflictIsTriedAgain(t *testing.T) {
	t.Parallel()
	h := started(t)
	refuse := true
	h.api.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		defer func() { refuse = false }()
		return refuse, nil, apierrors.NewConflict(v1.Resource("pods"), "p", errors.New("somebody else changed it"))
	})
	pod := h.running()
	h.seePod(pod)
	h.version++
	pod = pod.DeepCopy()
	at, grace := metav1.Now(), int64(30)
	pod.ResourceVersion, pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = strconv.Itoa(h.version), &at, &grace
	h.seePod(pod)
	h.settleDown()
	h.seePod(h.echo(pod)) // the terminal status
	h.settleDown()
	if refuse {
		t.Fatal("the pod's removal was never asked for")
	}
	h.mu.Lock()
	r := h.record("ns", "p")
	r.retryAt = r.retryAt.Add(-conflictWait)
	h.touch(r) // as the timer does
	h.mu.Unlock()
	h.settleDown()
	if h.deletes != 1 {
		t.Errorf("the pod was removed %d times, want once", h.deletes)
	}
}
