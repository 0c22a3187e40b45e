package store

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/google/btree"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

const (
	// DefaultKeepEvents is how many commits of history a Memory keeps at least: the number below which a watcher that
	// fell behind, or a client that re-connects, never has to list again.
	DefaultKeepEvents = 20_000
	// DefaultQuotaBytes is the size at which both stores refuse writes: etcd's own default.
	DefaultQuotaBytes = 2 << 30
	// quotaWarnPercent of the quota is where a warning is logged, once a crossing.
	quotaWarnPercent = 80
	// quotaCalmPercent of the quota is below what a new warning may follow.
	quotaCalmPercent = 75
	// treeDegree of the key index: 32 was the fastest for 10,000 to 100,000 keys of 60 bytes.
	treeDegree = 32
)

// MemoryOptions tune a Memory; the zero value is what `fairway up --memory` uses.
type MemoryOptions struct {
	// KeepEvents is the number of most recent commits whose events stay readable by watches and by reads at an old
	// revision; 0 means DefaultKeepEvents. Older ones are dropped a quarter of that number at a time.
	KeepEvents int
	// CompactExactly makes a requested compaction take effect to the revision asked for, and leaves history alone
	// otherwise, as etcd does. By default compaction never goes below KeepEvents.
	CompactExactly bool
	// QuotaBytes is the size at which writes are refused with etcd's NOSPACE error; 0 means DefaultQuotaBytes.
	QuotaBytes int64
	// Logger gets the quota warning; nil means slog.Default().
	Logger *slog.Logger
}

// Memory is a single-member, in-process store with the semantics of etcd v3: one revision a writing transaction,
// reads at past revisions, watches with history, leases, compaction. All methods of its clients are safe for
// concurrent use.
//
// It has no goroutine and no timer while nothing happens: a goroutine exists for each watcher that cannot keep up
// until it has, and one timer while there are leases. Its answers and the order of its events follow from the order
// of the calls alone.
//
// Keys and values are immutable once written: readers get the stored bytes themselves, and must not change them.
type Memory struct {
	opts MemoryOptions

	mu      sync.RWMutex
	stopped bool
	rev     int64 // of the last commit; an empty store is at 1, as in etcd
	items   map[string]*item
	tree    *btree.BTreeG[*item]
	bytes   int64 // estimate of keys, values and their bookkeeping, history included
	warned  bool  // the quota warning has been given and the size has not fallen since

	log            []*commit // one a revision, ascending; the last is of revision rev
	compacted      int64     // reads below this revision are refused
	compactedAsked int64     // highest revision a client asked to compact to

	audience audience
	leases   leases
	pumps    sync.WaitGroup

	writes atomic.Int64
}

// NewMemory returns an empty store.
func NewMemory(opts MemoryOptions) *Memory {
	if opts.KeepEvents <= 0 {
		opts.KeepEvents = DefaultKeepEvents
	}
	if opts.QuotaBytes <= 0 {
		opts.QuotaBytes = DefaultQuotaBytes
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return &Memory{
		opts:           opts,
		rev:            1,
		compacted:      -1,
		compactedAsked: -1,
		items:          map[string]*item{},
		tree:           btree.NewG(treeDegree, func(a, b *item) bool { return a.key < b.key }),
		audience:       newAudience(),
		leases:         newLeases(),
	}
}

// Stop ends every watch (its channel closes), forgets the leases and refuses further calls with etcd's "server
// stopped" error. It returns when no goroutine of the store is left, and may be called again.
func (m *Memory) Stop() {
	m.mu.Lock()
	if !m.stopped {
		m.stopped = true
		m.leases.stop()
		for _, w := range m.audience.all() {
			m.endWatchLocked(w)
		}
	}
	m.mu.Unlock()
	m.pumps.Wait()
}

// Revision is the revision of the last commit; 1 for an empty store.
func (m *Memory) Revision() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.rev
}

// Writes counts the commits since the start: transactions that changed something, lease expiries included.
func (m *Memory) Writes() int64 { return m.writes.Load() }

// Size is an estimate, in bytes, of the memory held by keys and values, their history included; what the quota
// compares.
func (m *Memory) Size() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.bytes
}

func (m *Memory) header(rev int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 1, MemberId: 1, RaftTerm: 1, Revision: rev}
}

// roomLocked refuses a write of the given size when it does not fit the quota.
func (m *Memory) roomLocked(bytes int64) error {
	if m.bytes+bytes <= m.opts.QuotaBytes {
		return nil
	}
	return rpctypes.ErrNoSpace
}

// watchQuotaLocked gives the quota warning after a commit.
func (m *Memory) watchQuotaLocked() {
	switch quota := m.opts.QuotaBytes; {
	case !m.warned && m.bytes >= quota/100*quotaWarnPercent:
		m.warned = true
		m.opts.Logger.Warn("The memory store is nearly full; at its limit writes are refused (delete objects, or allow more)",
			"sizeBytes", m.bytes, "limitBytes", quota)
	case m.warned && m.bytes < quota/100*quotaCalmPercent:
		m.warned = false
	}
}
