package store

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// memoryKV is etcd's general key-value client on the store.
type memoryKV struct {
	clientv3.KV
	m *Memory
}

// GetStream answers a streamed range at once, as one piece that shares the store's bytes: there is no message size
// to respect. The gate EtcdRangeStream may thus stay on.
func (k memoryKV) GetStream(ctx context.Context, key string, opts ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	op := clientv3.OpGet(key, opts...)
	r := &pb.RangeRequest{Key: op.KeyBytes(), RangeEnd: op.RangeBytes(), Limit: op.Limit(), Revision: op.Rev(),
		KeysOnly: op.IsKeysOnly(), CountOnly: op.IsCountOnly(), MinModRevision: op.MinModRev(),
		MaxModRevision: op.MaxModRev(), MinCreateRevision: op.MinCreateRev(), MaxCreateRevision: op.MaxCreateRev()}
	switch {
	case op.IsSortSet():
		return nil, status.Error(codes.Unimplemented, "a streamed range has no sort order")
	case revisionFiltered(r):
		return nil, status.Error(codes.Unimplemented, "a streamed range has no revision filters")
	}
	resp, err := kvServer{m: k.m}.Range(ctx, r)
	if err != nil {
		return nil, err
	}
	ch := make(chan clientv3.RangeStreamResponse, 1)
	ch <- clientv3.RangeStreamResponse{RangeResponse: resp}
	close(ch)
	return ch, nil
}

// kvServer answers the messages of etcd's key-value service.
type kvServer struct{ m *Memory }

// Range implements pb.KVClient.
func (s kvServer) Range(ctx context.Context, r *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	s.m.mu.RLock()
	defer s.m.mu.RUnlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	return s.m.rangeLocked(r, s.m.rev)
}

func (s kvServer) begin(ctx context.Context) error { return objectClient(s).begin(ctx) }

// RangeStream implements pb.KVClient; clients of this store use memoryKV.GetStream, which needs no stream.
func (s kvServer) RangeStream(context.Context, *pb.RangeRequest, ...grpc.CallOption) (pb.KV_RangeStreamClient, error) {
	return nil, status.Error(codes.Unimplemented, "use GetStream of the store's client")
}

// Put implements pb.KVClient.
func (s kvServer) Put(ctx context.Context, r *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if err := m.admitPutLocked(r, nil); err != nil {
		return nil, err
	}
	if err := m.roomLocked(versionBytes + int64(len(r.Key)+len(r.Value))); err != nil {
		return nil, err
	}
	c := m.newCommit()
	resp := m.runPutLocked(c, r)
	m.commitLocked(c)
	return resp, nil
}

// DeleteRange implements pb.KVClient.
func (s kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	c := m.newCommit()
	resp := m.runDeleteLocked(c, r)
	m.commitLocked(c)
	return resp, nil
}

// Txn implements pb.KVClient.
func (s kvServer) Txn(ctx context.Context, r *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.m.txn(r)
}

// Compact implements pb.KVClient.
func (s kvServer) Compact(ctx context.Context, r *pb.CompactionRequest, _ ...grpc.CallOption) (*pb.CompactionResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.m.compact(r.Revision); err != nil {
		return nil, err
	}
	return &pb.CompactionResponse{Header: s.m.header(s.m.Revision())}, nil
}

// memoryWatcher is one client's watches.
type memoryWatcher struct {
	m       *Memory
	closed  bool     // guarded by the store's lock, as are
	watches []*watch // the live ones, oldest first
}

// Watch implements clientv3.Watcher. Answers are not fragmented.
func (c *memoryWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return c.m.watchFrom(ctx, c, clientv3.OpWatch(key, opts...))
}

// RequestProgress makes each of this client's watches tell, after all events up to now, the store's revision.
func (c *memoryWatcher) RequestProgress(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.m.stopped || c.closed {
		return rpctypes.ErrStopped
	}
	for _, w := range c.watches {
		w.notifyLocked()
	}
	return nil
}

// Close ends this client's watches.
func (c *memoryWatcher) Close() error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.closed = true
	for _, w := range slices.Clone(c.watches) {
		c.m.endWatchLocked(w)
	}
	return nil
}

func (c *memoryWatcher) remove(w *watch) {
	c.watches = slices.DeleteFunc(c.watches, func(x *watch) bool { return x == w })
}
