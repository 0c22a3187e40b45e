package store

import (
	"context"
	"fmt"
	"sync"
	_ "unsafe" // for the linkname below

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apiserver/pkg/storage"
	etcdfeature "k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	_ "k8s.io/apiserver/pkg/storage/storagebackend/factory" // holds the variable that the linkname names
)

// The storage factory makes each of its etcd clients (one a resource, and those of the health checks and of the
// compactor) by this package variable. Replacing it is the only way to a store that is not behind a socket.
//
//go:linkname newETCD3Client k8s.io/apiserver/pkg/storage/storagebackend/factory.newETCD3Client
var newETCD3Client func(storagebackend.TransportConfig) (*kubernetes.Client, error)

var (
	seamMu    sync.RWMutex
	endpoints = map[string]func() *kubernetes.Client{}
	seamOnce  sync.Once
)

// Use makes the API server's storage factory reach a store of this process: whenever it needs an etcd client for the
// given endpoint (the text of its --etcd-servers flag), it gets what client returns; a new client each time, since
// it closes them one by one. All other endpoints are dialled as upstream does. The endpoint is a mere name, nothing
// listens there; two stores of one process need two names, and a second Use of a name that is taken panics.
//
// release takes the endpoint back. Clients handed out before stay usable until their store stops.
func Use(endpoint string, client func() *kubernetes.Client) (release func()) {
	seamOnce.Do(replaceClientFactory)
	seamMu.Lock()
	if _, taken := endpoints[endpoint]; taken {
		seamMu.Unlock()
		panic(fmt.Sprintf("store: endpoint %q is already in use; release it first or choose another name", endpoint))
	}
	endpoints[endpoint] = client
	seamMu.Unlock()

	ctx, cancel := context.WithCancel(context.Background())
	probe := versionProbe{Client: client().Client, endpoint: endpoint}
	// The clients themselves carry no endpoints, so upstream's own check, whether this etcd answers requests for
	// watch progress (without which consistent reads are not served from the watch cache), would never be made.
	etcdfeature.DefaultFeatureSupportChecker.CheckClient(ctx, probe, storage.RequestWatchProgress)

	var once sync.Once
	return func() {
		once.Do(func() {
			cancel()
			_ = probe.Client.Close() // reports only that its context is cancelled
			seamMu.Lock()
			delete(endpoints, endpoint)
			seamMu.Unlock()
		})
	}
}

func replaceClientFactory() {
	dial := newETCD3Client
	newETCD3Client = func(c storagebackend.TransportConfig) (*kubernetes.Client, error) {
		if len(c.ServerList) > 0 {
			seamMu.RLock()
			client, ok := endpoints[c.ServerList[0]]
			seamMu.RUnlock()
			if ok {
				return client(), nil
			}
		}
		return dial(c)
	}
}

// versionProbe shows upstream's feature check one endpoint, whose version the store itself tells.
type versionProbe struct {
	*clientv3.Client
	endpoint string
}

func (p versionProbe) Endpoints() []string { return []string{p.endpoint} }
