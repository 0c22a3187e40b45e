package store

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// watchBuffer is how many answers wait in a watch's channel before its backlog is the store's own history. The
	// API server's reader takes one at a time and buffers 100 events itself.
	watchBuffer = 64
	// watchBatchRevisions bounds the commits put into one answer when a watch catches up, as etcd does (1,000).
	watchBatchRevisions = 1_000
)

// watch is one client's watch of a span. While its channel has room, commits go straight into it. When it is full,
// the watch is behind: a goroutine then reads on in the store's history, which is thus the backlog, bounded by
// compaction, until the watch is up to date again. A watch whose next revision has been compacted away ends with
// etcd's ErrCompacted; none ever skips an event. All fields are guarded by the store's lock.
type watch struct {
	id       uint64
	m        *Memory
	owner    *memoryWatcher
	span     span
	prevKV   bool
	noPut    bool
	noDelete bool
	progress bool

	ch     chan clientv3.WatchResponse
	ended  chan struct{} // closed when the watch ends; the goroutine that catches up then closes ch
	done   bool
	behind bool        // a goroutine is catching up
	next   int64       // first revision not yet sent
	report bool        // a progress notice is due once the watch is up to date
	forget func() bool // detaches the watch from its context

	touched bool              // by the commit with several events that is being published
	batch   []*clientv3.Event // its events
}

// watchFrom starts a watch; its channel is closed when ctx ends, when the client is closed or the store stops.
func (m *Memory) watchFrom(ctx context.Context, owner *memoryWatcher, op clientv3.Op) clientv3.WatchChan {
	keys := span{string(op.KeyBytes()), string(op.RangeBytes())}
	if keys.start == "" {
		keys.start = "\x00"
	}
	w := &watch{m: m, owner: owner, span: keys, prevKV: op.IsPrevKV(), noPut: op.IsFilterPut(), noDelete: op.IsFilterDelete(),
		progress: op.IsProgressNotify(), ch: make(chan clientv3.WatchResponse, watchBuffer), ended: make(chan struct{})}

	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || owner.closed || ctx.Err() != nil {
		close(w.ch)
		return w.ch
	}
	if op.IsCreatedNotify() {
		w.ch <- clientv3.WatchResponse{Header: m.header(m.rev), Created: true}
	}
	w.next = op.Rev()
	if w.next == 0 {
		w.next = m.rev + 1
	}
	if keys.empty() {
		w.ch <- clientv3.WatchResponse{Header: m.header(m.rev), Canceled: true, CancelReason: "mvcc: watcher range is empty"}
		close(w.ch)
		return w.ch
	}
	if w.tooOldLocked() {
		w.ch <- w.compactedLocked()
		close(w.ch)
		return w.ch
	}
	m.audience.add(w)
	owner.watches = append(owner.watches, w)
	w.forget = context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.endWatchLocked(w)
	})
	// What has happened since usually fits one answer, and needs no goroutine.
	if resp, ok := w.advanceLocked(); ok {
		w.ch <- resp
		if w.next <= m.rev {
			w.catchUpLocked()
		}
	}
	return w.ch
}

// tooOldLocked tells whether a new watch asks for history that is gone. That includes the previous value of an event
// at the compacted revision itself, which etcd would leave out without a word.
func (w *watch) tooOldLocked() bool {
	m := w.m
	if w.next != m.compacted || !w.prevKV {
		return w.next < m.compacted
	}
	for _, c := range m.sinceLocked(w.next) {
		if c.rev() != w.next {
			break
		}
		for _, e := range c.events {
			if e.PrevKv != nil && w.span.holds(string(e.Kv.Key)) {
				return true
			}
		}
	}
	return false
}

func (w *watch) compactedLocked() clientv3.WatchResponse {
	return clientv3.WatchResponse{Header: w.m.header(w.m.rev), CompactRevision: w.m.compacted, Canceled: true}
}

// endWatchLocked removes a watch and closes its channel, or leaves that to the goroutine that may be sending.
func (m *Memory) endWatchLocked(w *watch) {
	if w.done {
		return
	}
	w.done = true
	w.forget()
	m.audience.remove(w)
	w.owner.remove(w)
	close(w.ended)
	if !w.behind {
		close(w.ch)
	}
}

// publishLocked hands the newest commit to the watches of its keys.
func (m *Memory) publishLocked(c *commit) {
	if len(c.events) == 1 {
		m.audience.of(string(c.first.Kv.Key), func(g *watchGroup) {
			for _, w := range g.watches {
				if w.wantsLocked(c) {
					w.offerLocked(c, w.selectEvents(nil, c.events))
				}
			}
		})
		return
	}
	var touched []*watch
	for i := range c.events {
		m.audience.of(string(c.events[i].Kv.Key), func(g *watchGroup) {
			for _, w := range g.watches {
				if !w.wantsLocked(c) {
					continue
				}
				if !w.touched {
					w.touched = true
					touched = append(touched, w)
				}
				w.batch = w.selectEvents(w.batch, c.events[i:i+1:i+1])
			}
		})
	}
	for _, w := range touched {
		w.offerLocked(c, w.batch)
		w.batch, w.touched = nil, false
	}
}

// wantsLocked tells whether a commit is to be sent now: not before the watch's first revision, and not past a
// goroutine that is still catching up.
func (w *watch) wantsLocked(c *commit) bool { return !w.behind && c.rev() >= w.next }

// selectEvents appends to batch those events that the watch asked for, as it asked for them. Without a batch it
// shares the given slice where it can: nearly always.
func (w *watch) selectEvents(batch, events []*clientv3.Event) []*clientv3.Event {
	if batch == nil && w.prevKV && !w.noPut && !w.noDelete {
		return events
	}
	for _, e := range events {
		switch {
		case w.noPut && e.Type == mvccpb.Event_PUT, w.noDelete && e.Type == mvccpb.Event_DELETE:
		case w.prevKV || e.PrevKv == nil:
			batch = append(batch, e)
		default:
			batch = append(batch, &clientv3.Event{Type: e.Type, Kv: e.Kv})
		}
	}
	return batch
}

// offerLocked sends a commit's events if there is room, else starts to catch up.
func (w *watch) offerLocked(c *commit, events []*clientv3.Event) {
	if len(events) > 0 {
		select {
		case w.ch <- clientv3.WatchResponse{Header: &c.header, Events: events}:
		default:
			w.next = c.rev()
			w.catchUpLocked()
			return
		}
	}
	w.next = c.rev() + 1
}

// notifyLocked sends a progress notice: everything up to the store's revision has been sent.
func (w *watch) notifyLocked() {
	if w.behind {
		w.report = true
		return
	}
	if w.next > w.m.rev+1 {
		return // begins in the future
	}
	select {
	case w.ch <- clientv3.WatchResponse{Header: w.m.header(w.m.rev)}:
		w.next = w.m.rev + 1
	default:
		w.report = true
		w.next = w.m.rev + 1
		w.catchUpLocked()
	}
}

// announceProgressLocked tells watches that asked for progress notices, and have had no event for a long time, how
// far the store is, so that their clients can resume after a compaction. etcd does so by the clock; here it happens
// by the number of commits, so that an idle store needs no timer.
func (m *Memory) announceProgressLocked() {
	for _, w := range m.audience.all() {
		if w.progress && w.next < m.compacted {
			w.notifyLocked()
		}
	}
}

func (w *watch) catchUpLocked() {
	w.behind = true
	w.m.pumps.Add(1)
	go w.catchUp()
}

// catchUp sends history until the watch is up to date or ends.
func (w *watch) catchUp() {
	defer w.m.pumps.Done()
	for {
		w.m.mu.Lock()
		if w.done {
			w.m.mu.Unlock()
			close(w.ch)
			return
		}
		resp, ok := w.advanceLocked()
		if !ok {
			w.behind = false
			w.m.mu.Unlock()
			return
		}
		w.m.mu.Unlock()
		select {
		case w.ch <- resp:
		case <-w.ended:
			close(w.ch)
			return
		}
		if resp.Canceled {
			w.m.mu.Lock()
			w.m.endWatchLocked(w)
			w.m.mu.Unlock()
			close(w.ch)
			return
		}
	}
}

// advanceLocked moves on in the history to the next events of the watch and returns them; ok is false when there is
// nothing more to send.
func (w *watch) advanceLocked() (resp clientv3.WatchResponse, ok bool) {
	m := w.m
	for w.next <= m.rev {
		if w.next < m.compacted {
			return w.compactedLocked(), true
		}
		commits := m.sinceLocked(w.next)
		commits = commits[:min(len(commits), watchBatchRevisions)]
		events := []*clientv3.Event{} // not nil: never a commit's own slice, which would be appended to
		for _, c := range commits {
			for i, e := range c.events {
				if w.span.holds(string(e.Kv.Key)) {
					events = w.selectEvents(events, c.events[i:i+1])
				}
			}
		}
		w.next = m.rev + 1
		if len(commits) > 0 { // the log may begin later than asked: an empty store is at revision 1, its first commit at 2
			w.next = commits[len(commits)-1].rev() + 1
		}
		if len(events) > 0 {
			return clientv3.WatchResponse{Header: m.header(m.rev), Events: events}, true
		}
	}
	if w.report {
		w.report = false
		return clientv3.WatchResponse{Header: m.header(m.rev)}, true
	}
	return resp, false
}
