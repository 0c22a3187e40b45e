package store

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// commit is one revision: the events of one writing transaction, as every watcher that asked for all of them and for
// previous values gets them. Nearly all commits have one event, which lies in the commit itself.
type commit struct {
	header pb.ResponseHeader
	events []*mvccpb.Event
	first  mvccpb.Event
	slot   [1]*mvccpb.Event
}

func (m *Memory) newCommit() *commit {
	c := &commit{}
	c.header.ClusterId, c.header.MemberId, c.header.RaftTerm, c.header.Revision = 1, 1, 1, m.rev+1
	return c
}

func (c *commit) rev() int64 { return c.header.Revision }

func (c *commit) add(kind mvccpb.Event_EventType, now, before *mvccpb.KeyValue) {
	e := &c.first
	if len(c.events) > 0 {
		e = &mvccpb.Event{}
	} else {
		c.events = c.slot[:0]
	}
	e.Type, e.Kv, e.PrevKv = kind, now, before
	c.events = append(c.events, e)
}

// putLocked writes one key. The value becomes the store's.
func (m *Memory) putLocked(c *commit, key string, value []byte, lease int64) *mvccpb.KeyValue {
	it := m.items[key]
	if it == nil {
		it = &item{key: key, raw: slices.Clip([]byte(key))}
		m.items[key] = it
		m.tree.ReplaceOrInsert(it)
	}
	before := it.at(0)
	v := &keyVersion{older: it.head}
	kv := &v.kv
	kv.Key, kv.Value, kv.ModRevision, kv.Lease = it.raw, value, c.rev(), lease
	kv.CreateRevision, kv.Version = c.rev(), 1
	if before != nil {
		kv.CreateRevision, kv.Version = before.CreateRevision, before.Version+1
	}
	m.leases.move(it, before, lease)
	it.head = v
	m.bytes += v.cost()
	c.add(mvccpb.Event_PUT, kv, before)
	return kv
}

// deleteLocked removes one existing key.
func (m *Memory) deleteLocked(c *commit, it *item, before *mvccpb.KeyValue) {
	v := &keyVersion{older: it.head}
	v.kv.Key, v.kv.ModRevision = it.raw, c.rev()
	m.leases.move(it, before, 0)
	it.head = v
	m.bytes += v.cost()
	if before.ModRevision == c.rev() { // written by this very transaction: the previous value is the one before it
		before = it.at(c.rev() - 1)
	}
	c.add(mvccpb.Event_DELETE, &v.kv, before)
}

// deleteSpanLocked removes the keys of a span and returns what they held, in order.
func (m *Memory) deleteSpanLocked(c *commit, s span) []*mvccpb.KeyValue {
	var items []*item
	var before []*mvccpb.KeyValue
	m.walkLocked(s, 0, func(it *item, kv *mvccpb.KeyValue) bool {
		items, before = append(items, it), append(before, kv)
		return true
	})
	for i, it := range items {
		m.deleteLocked(c, it, before[i])
	}
	return before
}

// commitLocked makes a transaction's events the newest revision and hands them to the watchers. A transaction that
// changed nothing takes no revision.
func (m *Memory) commitLocked(c *commit) {
	if len(c.events) == 0 {
		return
	}
	m.rev = c.rev()
	m.log = append(m.log, c)
	m.writes.Add(1)
	m.publishLocked(c)
	if keep := m.opts.KeepEvents; !m.opts.CompactExactly && len(m.log) > keep+keep/4+1 {
		m.compactLocked(m.rev - int64(keep))
		m.announceProgressLocked()
	}
	m.watchQuotaLocked()
}
