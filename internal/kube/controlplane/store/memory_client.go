package store

import (
	"context"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
)

// Client returns a new client of the store. Its calls are plain function calls. Closing it ends its watches and
// nothing else.
//
// Kubernetes, the interface by which the API server reads and writes objects, goes straight to the store, not through
// KV. A value given to OptimisticPut becomes the store's own, uncopied: the caller must not change it afterwards.
func (m *Memory) Client() *kubernetes.Client {
	c := clientv3.NewCtxClient(context.Background())
	c.KV = memoryKV{clientv3.NewKVFromKVClient(kvServer{m: m}, c), m}
	c.Watcher = &memoryWatcher{m: m}
	c.Lease = clientv3.NewLeaseFromLeaseClient(adapter.LeaseServerToLeaseClient(leaseServer{m: m}), c, time.Second)
	c.Maintenance = clientv3.NewMaintenanceFromMaintenanceClient(
		adapter.MaintenanceServerToMaintenanceClient(maintenanceServer{m: m}), c)
	c.Cluster = clientv3.NewClusterFromClusterClient(
		adapter.ClusterServerToClusterClient(pb.UnimplementedClusterServer{}), c)
	c.Auth = clientv3.NewAuthFromAuthClient(adapter.AuthServerToAuthClient(pb.UnimplementedAuthServer{}), c)
	return &kubernetes.Client{Client: c, Kubernetes: objectClient{m}}
}

// objectClient is the API server's way to objects. Its answers share the store's bytes.
type objectClient struct{ m *Memory }

func (c objectClient) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.m.stopped {
		return rpctypes.ErrStopped
	}
	return nil
}

// Get reads one object, at a past revision if asked.
func (c objectClient) Get(ctx context.Context, key string, o kubernetes.GetOptions) (kubernetes.GetResponse, error) {
	m := c.m
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := c.begin(ctx); err != nil {
		return kubernetes.GetResponse{}, err
	}
	if err := m.readableLocked(o.Revision, m.rev); err != nil {
		return kubernetes.GetResponse{}, err
	}
	resp := kubernetes.GetResponse{Revision: m.rev}
	if it := m.items[key]; it != nil {
		resp.KV = it.at(o.Revision)
	}
	return resp, nil
}

// List reads the objects below a prefix; Count is that of all from the continuation on.
func (c objectClient) List(ctx context.Context, prefix string, o kubernetes.ListOptions) (kubernetes.ListResponse, error) {
	keys := prefixSpan(prefix)
	if o.Continue != "" {
		keys.start = o.Continue
	}
	m := c.m
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := c.begin(ctx); err != nil {
		return kubernetes.ListResponse{}, err
	}
	if err := m.readableLocked(o.Revision, m.rev); err != nil {
		return kubernetes.ListResponse{}, err
	}
	resp := kubernetes.ListResponse{Revision: m.rev}
	resp.Kvs, resp.Count = m.listLocked(keys, o.Revision, o.Limit)
	return resp, nil
}

// Count counts the objects below a prefix.
func (c objectClient) Count(ctx context.Context, prefix string, _ kubernetes.CountOptions) (int64, error) {
	m := c.m
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := c.begin(ctx); err != nil {
		return 0, err
	}
	var n int64
	m.walkLocked(prefixSpan(prefix), 0, func(*item, *mvccpb.KeyValue) bool { n++; return true })
	return n, nil
}

func prefixSpan(prefix string) span { return span{prefix, clientv3.GetPrefixRangeEnd(prefix)} }

// OptimisticPut writes an object if it is still at the expected revision (0: does not exist).
func (c objectClient) OptimisticPut(ctx context.Context, key string, value []byte, expected int64, o kubernetes.PutOptions) (kubernetes.PutResponse, error) {
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := c.begin(ctx); err != nil {
		return kubernetes.PutResponse{}, err
	}
	current := m.current(key)
	if current.GetModRevision() != expected {
		resp := kubernetes.PutResponse{Revision: m.rev}
		if o.GetOnFailure {
			resp.KV = current
		}
		return resp, nil
	}
	if o.LeaseID != 0 && !m.leases.has(int64(o.LeaseID)) {
		return kubernetes.PutResponse{}, rpctypes.ErrLeaseNotFound
	}
	if err := m.roomLocked(versionBytes + int64(len(key)+len(value))); err != nil {
		return kubernetes.PutResponse{}, err
	}
	tx := m.newCommit()
	m.putLocked(tx, key, snug(value), int64(o.LeaseID))
	m.commitLocked(tx)
	return kubernetes.PutResponse{Succeeded: true, Revision: m.rev}, nil
}

// snug returns a value that wastes little memory while it is kept: an encoder's buffer may be twice what is in it.
func snug(value []byte) []byte {
	if cap(value)-len(value) > len(value)/4 {
		return append(make([]byte, 0, len(value)), value...)
	}
	return slices.Clip(value)
}

// OptimisticDelete deletes an object if it is still at the expected revision.
func (c objectClient) OptimisticDelete(ctx context.Context, key string, expected int64, o kubernetes.DeleteOptions) (kubernetes.DeleteResponse, error) {
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := c.begin(ctx); err != nil {
		return kubernetes.DeleteResponse{}, err
	}
	current := m.current(key)
	if current.GetModRevision() != expected {
		resp := kubernetes.DeleteResponse{Revision: m.rev}
		if o.GetOnFailure {
			resp.KV = current
		}
		return resp, nil
	}
	if current != nil {
		tx := m.newCommit()
		m.deleteLocked(tx, m.items[key], current)
		m.commitLocked(tx)
	}
	return kubernetes.DeleteResponse{Succeeded: true, Revision: m.rev}, nil
}

// maintenanceServer tells the store's version, size and revision; other maintenance has no meaning here.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	m *Memory
}

// Status reports as an etcd of the version that this program is built with.
func (s maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	m := s.m
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.stopped {
		return nil, rpctypes.ErrStopped
	}
	return &pb.StatusResponse{Header: m.header(m.rev), Version: version.Version, DbSize: m.bytes, DbSizeInUse: m.bytes,
		DbSizeQuota: m.opts.QuotaBytes, Leader: 1, RaftTerm: 1}, nil
}
