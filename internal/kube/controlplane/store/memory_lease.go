package store

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// maxLeaseSeconds is the longest lease that etcd grants.
const maxLeaseSeconds = 9_000_000_000

// lease deletes its keys when it runs out.
type lease struct {
	id      int64
	seconds int64
	expiry  time.Time
	items   map[*item]struct{}
	index   int // in the queue
}

// leases are the store's leases in the order in which they run out, with one timer for the first.
type leases struct {
	byID   map[int64]*lease
	queue  leaseQueue
	nextID int64
	timer  *time.Timer // nil while there is no lease
}

func newLeases() leases { return leases{byID: map[int64]*lease{}} }

func (l *leases) has(id int64) bool { return l.byID[id] != nil }

// move hangs an item on another lease (0: none) than the one that its old version hangs on.
func (l *leases) move(it *item, before *mvccpb.KeyValue, to int64) {
	var from int64
	if before != nil {
		from = before.Lease
	}
	if from == to {
		return
	}
	if old := l.byID[from]; old != nil {
		delete(old.items, it)
	}
	if new := l.byID[to]; new != nil {
		new.items[it] = struct{}{}
	}
}

func (l *leases) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.byID, l.queue, l.timer = map[int64]*lease{}, nil, nil
}

// leaseQueue is a heap by expiry, then by id.
type leaseQueue []*lease

func (q leaseQueue) Len() int { return len(q) }
func (q leaseQueue) Less(i, j int) bool {
	if c := q[i].expiry.Compare(q[j].expiry); c != 0 {
		return c < 0
	}
	return q[i].id < q[j].id
}
func (q leaseQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *leaseQueue) Push(x any) {
	l := x.(*lease)
	l.index = len(*q)
	*q = append(*q, l)
}
func (q *leaseQueue) Pop() any {
	old := *q
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return l
}

// armLocked sets the timer to the first expiry.
func (m *Memory) armLocked() {
	l := &m.leases
	if len(l.queue) == 0 {
		if l.timer != nil {
			l.timer.Stop()
			l.timer = nil
		}
		return
	}
	wait := time.Until(l.queue[0].expiry)
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, m.expireLeases)
		return
	}
	l.timer.Reset(wait)
}

func (m *Memory) expireLeases() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	now := time.Now()
	for q := m.leases.queue; len(q) > 0 && !q[0].expiry.After(now); q = m.leases.queue {
		m.dropLeaseLocked(q[0])
	}
	m.armLocked()
}

// dropLeaseLocked removes a lease and, as one commit, its keys in order.
func (m *Memory) dropLeaseLocked(l *lease) {
	heap.Remove(&m.leases.queue, l.index)
	delete(m.leases.byID, l.id)
	items := make([]*item, 0, len(l.items))
	for it := range l.items {
		items = append(items, it)
	}
	slices.SortFunc(items, func(a, b *item) int { return cmp.Compare(a.key, b.key) })
	c := m.newCommit()
	for _, it := range items {
		m.deleteLocked(c, it, it.at(0))
	}
	m.commitLocked(c)
}

// leaseServer answers etcd's lease calls.
type leaseServer struct {
	pb.UnimplementedLeaseServer
	m *Memory
}

// LeaseGrant makes a lease of at least a second. Ids count up, so that runs repeat.
func (s leaseServer) LeaseGrant(_ context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.stopped:
		return nil, rpctypes.ErrStopped
	case r.TTL > maxLeaseSeconds:
		return nil, rpctypes.ErrLeaseTTLTooLarge
	case m.leases.has(r.ID):
		return nil, rpctypes.ErrLeaseExist
	}
	if err := m.roomLocked(versionBytes); err != nil {
		return nil, err
	}
	id := r.ID
	for id == 0 || m.leases.has(id) {
		m.leases.nextID++
		id = m.leases.nextID
	}
	l := &lease{id: id, seconds: max(r.TTL, 1), items: map[*item]struct{}{}}
	l.expiry = time.Now().Add(l.duration())
	m.leases.byID[id] = l
	heap.Push(&m.leases.queue, l)
	if l.index == 0 {
		m.armLocked()
	}
	return &pb.LeaseGrantResponse{Header: m.header(m.rev), ID: id, TTL: l.seconds}, nil
}

// duration is the lease's length; one too long for a time.Duration lasts as long as that can say.
func (l *lease) duration() time.Duration {
	return time.Duration(min(l.seconds, int64(1<<63-1)/int64(time.Second))) * time.Second
}

// LeaseRevoke ends a lease and deletes its keys.
func (s leaseServer) LeaseRevoke(_ context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil, rpctypes.ErrStopped
	}
	l := m.leases.byID[r.ID]
	if l == nil {
		return nil, rpctypes.ErrLeaseNotFound
	}
	m.dropLeaseLocked(l)
	m.armLocked()
	return &pb.LeaseRevokeResponse{Header: m.header(m.rev)}, nil
}

// LeaseKeepAlive renews leases as long as the stream lasts.
func (s leaseServer) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(s.renew(r.ID)); err != nil {
			return err
		}
	}
}

// renew starts a lease anew; a lease that does not exist has a TTL of 0.
func (s leaseServer) renew(id int64) *pb.LeaseKeepAliveResponse {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	resp := &pb.LeaseKeepAliveResponse{Header: m.header(m.rev), ID: id}
	if l := m.leases.byID[id]; l != nil {
		resp.TTL = l.seconds
		l.expiry = time.Now().Add(l.duration())
		heap.Fix(&m.leases.queue, l.index)
		m.armLocked()
	}
	return resp
}

// LeaseTimeToLive tells a lease's remaining seconds, -1 if it does not exist, and its keys if asked.
func (s leaseServer) LeaseTimeToLive(_ context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	m := s.m
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.stopped {
		return nil, rpctypes.ErrStopped
	}
	resp := &pb.LeaseTimeToLiveResponse{Header: m.header(m.rev), ID: r.ID, TTL: -1}
	l := m.leases.byID[r.ID]
	if l == nil {
		return resp, nil
	}
	resp.TTL, resp.GrantedTTL = int64(time.Until(l.expiry).Seconds()), l.seconds
	if r.Keys {
		for it := range l.items {
			resp.Keys = append(resp.Keys, it.raw)
		}
		slices.SortFunc(resp.Keys, slices.Compare[[]byte])
	}
	return resp, nil
}

// LeaseLeases lists the leases, first to run out first.
func (s leaseServer) LeaseLeases(context.Context, *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	m := s.m
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.stopped {
		return nil, rpctypes.ErrStopped
	}
	queue := slices.Clone(m.leases.queue)
	slices.SortFunc(queue, func(a, b *lease) int {
		return cmp.Or(a.expiry.Compare(b.expiry), cmp.Compare(a.id, b.id))
	})
	resp := &pb.LeaseLeasesResponse{Header: m.header(m.rev)}
	for _, l := range queue {
		resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: l.id})
	}
	return resp, nil
}
