package store

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// item is a key with its versions, newest first.
type item struct {
	key  string
	raw  []byte // the same bytes for the answers; capacity is length, so that nobody can append into it
	head *keyVersion

	trimmed int64 // revision of the last compaction that looked at it
}

// keyVersion is what a key held from one revision on. A tombstone has Version 0; its kv doubles as that of the delete
// event.
type keyVersion struct {
	kv    mvccpb.KeyValue
	older *keyVersion // cut off by compaction
}

// versionBytes is what one version costs beside its key and value: itself, its commit and their pointers.
const versionBytes = 320

func (v *keyVersion) cost() int64 {
	return versionBytes + int64(len(v.kv.Key)) + int64(len(v.kv.Value))
}

// at returns what the item held at a revision (0: now), nil if it did not exist then.
func (it *item) at(rev int64) *mvccpb.KeyValue {
	v := it.head
	if rev > 0 {
		for v != nil && v.kv.ModRevision > rev {
			v = v.older
		}
	}
	if v == nil || v.kv.Version == 0 {
		return nil
	}
	return &v.kv
}

// current returns what a key holds now, nil if it does not exist.
func (m *Memory) current(key string) *mvccpb.KeyValue {
	if it := m.items[key]; it != nil {
		return it.at(0)
	}
	return nil
}

// span is a range of keys in etcd's notation: one key when end is empty, everything from start on when end is
// "\x00", else [start, end).
type span struct{ start, end string }

func (s span) point() bool { return s.end == "" }
func (s span) open() bool  { return s.end == "\x00" }

func (s span) empty() bool { return !s.point() && !s.open() && s.end <= s.start }

func (s span) holds(key string) bool {
	if s.point() {
		return key == s.start
	}
	return key >= s.start && (s.open() || key < s.end)
}

// walkLocked calls f for each key of a span that existed at a revision, in order, until f returns false.
func (m *Memory) walkLocked(s span, rev int64, f func(*item, *mvccpb.KeyValue) bool) {
	if s.point() {
		if it := m.items[s.start]; it != nil {
			if kv := it.at(rev); kv != nil {
				f(it, kv)
			}
		}
		return
	}
	m.tree.AscendGreaterOrEqual(&item{key: s.start}, func(it *item) bool {
		if !s.open() && it.key >= s.end {
			return false
		}
		kv := it.at(rev)
		return kv == nil || f(it, kv)
	})
}

// readableLocked tells whether a read at a revision can be answered when the newest one is latest.
func (m *Memory) readableLocked(rev, latest int64) error {
	switch {
	case rev > latest:
		return rpctypes.ErrFutureRev
	case rev > 0 && rev < m.compacted:
		return rpctypes.ErrCompacted
	}
	return nil
}

// listLocked collects up to limit (0: all) keys of a span at a revision, and counts all of them.
func (m *Memory) listLocked(s span, rev, limit int64) (kvs []*mvccpb.KeyValue, count int64) {
	if limit > 0 {
		kvs = make([]*mvccpb.KeyValue, 0, min(limit, int64(m.tree.Len())))
	}
	m.walkLocked(s, rev, func(_ *item, kv *mvccpb.KeyValue) bool {
		count++
		if limit <= 0 || int64(len(kvs)) < limit {
			kvs = append(kvs, kv)
		}
		return true
	})
	return kvs, count
}

// rangeLocked answers a range request. latest is the newest readable revision: the store's, or one more inside a
// transaction that has written.
func (m *Memory) rangeLocked(r *pb.RangeRequest, latest int64) (*pb.RangeResponse, error) {
	if err := m.readableLocked(r.Revision, latest); err != nil {
		return nil, err
	}
	resp := &pb.RangeResponse{Header: m.header(latest)}
	keys := span{string(r.Key), string(r.RangeEnd)}
	if r.CountOnly {
		m.walkLocked(keys, r.Revision, func(*item, *mvccpb.KeyValue) bool { resp.Count++; return true })
		return resp, nil
	}
	limit := r.Limit
	switch {
	case !keyOrder(r) || revisionFiltered(r):
		limit = 0
	case limit > 0 && limit < math.MaxInt64:
		limit++ // one more than asked for, to see whether there is more
	}
	resp.Kvs, resp.Count = m.listLocked(keys, r.Revision, limit)
	if revisionFiltered(r) {
		resp.Kvs = filterByRevision(resp.Kvs, r)
	}
	sortKeyValues(resp.Kvs, r)
	if r.Limit > 0 && int64(len(resp.Kvs)) > r.Limit {
		resp.Kvs, resp.More = resp.Kvs[:r.Limit], true
	}
	if r.KeysOnly {
		stripValues(resp.Kvs)
	}
	return resp, nil
}

// keyOrder tells whether the keys are wanted in the order in which they are kept.
func keyOrder(r *pb.RangeRequest) bool {
	return r.SortOrder == pb.RangeRequest_NONE ||
		r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
}

func revisionFiltered(r *pb.RangeRequest) bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

func filterByRevision(kvs []*mvccpb.KeyValue, r *pb.RangeRequest) []*mvccpb.KeyValue {
	outside := func(rev, low, high int64) bool { return rev < low || high != 0 && rev > high }
	return slices.DeleteFunc(kvs, func(kv *mvccpb.KeyValue) bool {
		return outside(kv.ModRevision, r.MinModRevision, r.MaxModRevision) ||
			outside(kv.CreateRevision, r.MinCreateRevision, r.MaxCreateRevision)
	})
}

// sortKeyValues orders an answer; a target without an order means ascending, as in etcd.
func sortKeyValues(kvs []*mvccpb.KeyValue, r *pb.RangeRequest) {
	if r.SortTarget == pb.RangeRequest_KEY && r.SortOrder != pb.RangeRequest_DESCEND {
		return
	}
	var compare func(a, b *mvccpb.KeyValue) int
	switch r.SortTarget {
	case pb.RangeRequest_VERSION:
		compare = func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.Version, b.Version) }
	case pb.RangeRequest_CREATE:
		compare = func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) }
	case pb.RangeRequest_MOD:
		compare = func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.ModRevision, b.ModRevision) }
	case pb.RangeRequest_VALUE:
		compare = func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Value, b.Value) }
	default:
		compare = func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) }
	}
	slices.SortStableFunc(kvs, func(a, b *mvccpb.KeyValue) int {
		if r.SortOrder == pb.RangeRequest_DESCEND {
			return compare(b, a)
		}
		return compare(a, b)
	})
}

// stripValues replaces each element by a copy without its value and lease, which etcd does not look up for a list of
// keys either.
func stripValues(kvs []*mvccpb.KeyValue) {
	for i, kv := range kvs {
		kvs[i] = &mvccpb.KeyValue{Key: kv.Key, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision,
			Version: kv.Version}
	}
}
