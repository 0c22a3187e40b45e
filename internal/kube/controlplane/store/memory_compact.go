package store

import (
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// compact forgets history below a revision on a client's request. Asking for less than before, or for the future, is
// refused as etcd does. Unless told to compact exactly, the store keeps its newest KeepEvents commits whatever is
// asked.
func (m *Memory) compact(rev int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.stopped:
		return rpctypes.ErrStopped
	case rev <= m.compactedAsked || m.opts.CompactExactly && rev <= m.compacted:
		return rpctypes.ErrCompacted
	case rev > m.rev:
		return rpctypes.ErrFutureRev
	}
	m.compactedAsked = rev
	if !m.opts.CompactExactly {
		rev = min(rev, m.rev-int64(m.opts.KeepEvents))
	}
	m.compactLocked(rev)
	return nil
}

// compactLocked drops the versions that no read at rev or later can see, and the commits before rev. Watchers that
// had not got that far are told when their turn comes. Work is proportional to the commits dropped.
func (m *Memory) compactLocked(rev int64) {
	if rev <= m.compacted {
		return
	}
	m.compacted = rev
	drop := 0
	for _, c := range m.log {
		if c.rev() > rev {
			break
		}
		for _, e := range c.events {
			m.trimLocked(string(e.Kv.Key), rev)
		}
		if c.rev() < rev {
			drop++
		}
	}
	kept := copy(m.log, m.log[drop:])
	clear(m.log[kept:])
	m.log = m.log[:kept]
}

// trimLocked cuts the versions of one key that were replaced at or before a revision.
func (m *Memory) trimLocked(key string, rev int64) {
	it := m.items[key]
	if it == nil || it.trimmed == rev { // once a compaction: a busy key is in most of its commits
		return
	}
	it.trimmed = rev
	v := it.head
	for v != nil && v.kv.ModRevision > rev {
		v = v.older
	}
	if v == nil {
		return
	}
	for old := v.older; old != nil; old = old.older {
		m.bytes -= old.cost()
	}
	v.older = nil
	if v == it.head && v.kv.Version == 0 {
		m.bytes -= v.cost()
		m.tree.Delete(it)
		delete(m.items, key)
	}
}

// sinceLocked returns the commits from a revision on that are still in the log.
func (m *Memory) sinceLocked(rev int64) []*commit {
	if len(m.log) == 0 {
		return nil
	}
	first := m.log[0].rev()
	return m.log[min(max(rev-first, 0), int64(len(m.log))):]
}
