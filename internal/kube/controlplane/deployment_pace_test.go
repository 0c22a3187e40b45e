package controlplane

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/kubernetes/pkg/controller/deployment"
)

// work plays the controller on one key for a while: stuck asks again and succeeds, otherwise the work fails each time.
func work(t *testing.T, stuck bool, long time.Duration) (looks []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		q := newPacedQueue(workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()))
		began := time.Now()
		go func() {
			for {
				key, shutdown := q.Get()
				if shutdown {
					return
				}
				looks = append(looks, time.Since(began))
				q.AddRateLimited(key)
				if stuck {
					q.Forget(key)
				}
				q.Done(key)
			}
		}()
		q.Add("shop/web")
		time.Sleep(long)
		q.ShutDown()
		synctest.Wait()
	})
	return looks
}

func TestAStuckDeploymentIsLookedAtLessAndLessOften(t *testing.T) {
	looks := work(t, true, time.Hour)
	if n := len(looks); n < 60 || n > 70 {
		t.Errorf("%d looks in an hour, want about one a minute", n)
	}
	if looks[1] != secondLook || looks[len(looks)-1]-looks[len(looks)-2] != looksApart {
		t.Errorf("second look after %v, the last two %v apart", looks[1], looks[len(looks)-1]-looks[len(looks)-2])
	}
}

func TestFailedWorkIsRetriedAsUpstreamDoes(t *testing.T) {
	looks := work(t, false, time.Second)
	if len(looks) < 5 || looks[1] > 10*time.Millisecond {
		t.Errorf("retries at %v, want the first after 5 ms and several in a second", looks)
	}
}

func TestTheDeploymentControllerTakesThePacedQueue(t *testing.T) {
	client := kubernetes.NewForConfigOrDie(&rest.Config{})
	f := informers.NewSharedInformerFactory(client, 0)
	dc, err := deployment.NewDeploymentController(context.Background(), f.Apps().V1().Deployments(), f.Apps().V1().ReplicaSets(), f.Core().V1().Pods(), client)
	if err != nil {
		t.Fatal(err)
	}
	if err := paceStuckDeployments(dc); err != nil {
		t.Error(err)
	}
}
