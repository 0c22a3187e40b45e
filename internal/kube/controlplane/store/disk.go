package store

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// DiskOptions tune a Disk; the zero value is what `fairway up` uses.
type DiskOptions struct {
	// QuotaBytes is the size of the database at which etcd refuses writes with its NOSPACE error; 0 means
	// DefaultQuotaBytes.
	QuotaBytes int64
	// Logger gets etcd's warnings and errors and the quota warning; nil means slog.Default().
	Logger *slog.Logger
}

const (
	// electInterval is how often the only member asks itself to lead until it does: it cannot before its own
	// membership, read from the log, has been applied.
	electInterval = time.Millisecond
	// quotaCheckInterval is how often the database's size is compared with the quota's warning level.
	quotaCheckInterval = time.Minute
)

// Disk is a durable store: the real etcd as a single member in this process, with its write-ahead log and database
// in a directory and fsync on. It listens on no socket; clients call it directly.
type Disk struct {
	dir    string
	opts   DiskOptions
	server *etcdserver.EtcdServer
	lock   *fileutil.LockedFile
	logs   *logBridge

	stopOnce sync.Once
	stopping chan struct{}
	done     sync.WaitGroup
}

// OpenDisk opens or makes the store of a directory (created with mode 0700) and returns when it answers reads and
// writes. ctx bounds the start only.
//
// It fails with an error that wraps ErrLocked, ErrUnwritable, ErrFull or ErrCorrupt, names the directory and says
// what to do. A directory that is refused is left as it was.
func OpenDisk(ctx context.Context, dir string, opts DiskOptions) (*Disk, error) {
	if opts.QuotaBytes <= 0 {
		opts.QuotaBytes = DefaultQuotaBytes
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	lock, err := claim(dir)
	if err != nil {
		return nil, err
	}
	startMu.Lock()
	defer startMu.Unlock()
	d := &Disk{dir: dir, opts: opts, lock: lock, stopping: make(chan struct{}), logs: newLogBridge(opts.Logger)}
	if d.server, err = d.boot(); err != nil {
		return nil, errors.Join(d.refused(err), lock.Close())
	}
	d.logs.booted.Store(true)
	d.server.Start()
	if err := d.lead(ctx); err != nil {
		d.Stop()
		return nil, d.refused(err)
	}
	d.done.Add(1)
	go d.watchQuota()
	return d, nil
}

// claim checks that the directory can be used and locks it.
func claim(dir string) (*fileutil.LockedFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unwritable(dir, err)
	}
	if err := checkRoom(dir); err != nil {
		return nil, err
	}
	lock, err := fileutil.TryLockFile(filepath.Join(dir, "store.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	switch {
	case errors.Is(err, fileutil.ErrLocked):
		return nil, locked(dir)
	case errors.Is(err, syscall.ENOSPC):
		return nil, full(dir, err)
	case err != nil:
		return nil, unwritable(dir, err)
	}
	if err := checkFiles(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// boot makes the etcd server. What etcd holds to be fatal during its start becomes an error.
func (d *Disk) boot() (server *etcdserver.EtcdServer, err error) {
	defer func() {
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				cause = fmt.Errorf("%v", p)
			}
			server, err = nil, fmt.Errorf("etcd cannot read its files: %w", cause)
		}
	}()
	cfg, err := serverConfig(d.dir, d.opts, d.logs)
	if err != nil {
		return nil, err
	}
	return etcdserver.NewServer(cfg)
}

// lead makes the member the leader of its cluster of one, at once instead of after an election timeout, and waits
// until it has published itself, which is its first write.
func (d *Disk) lead(ctx context.Context) error {
	id := uint64(d.server.MemberID())
	kind := raftpb.MsgTimeoutNow // "lead now": what a leader tells the member it hands over to
	tick := time.NewTicker(electInterval)
	defer tick.Stop()
	for {
		if d.server.Leader() == 0 && mayLead() {
			if err := d.server.Process(ctx, &raftpb.Message{Type: &kind, To: &id, From: &id}); err != nil {
				return err
			}
		}
		select {
		case <-d.server.ReadyNotify():
			return nil
		case err := <-d.logs.died:
			return err
		case <-d.server.StopNotify():
			return errors.New("etcd stopped while it was starting")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// startMu is held while a server starts: etcd shows the raft state of the server started last, as a variable of the
// process, and nowhere else.
var startMu sync.Mutex

// mayLead tells whether the member has applied all that its log says is committed, its own membership first of all.
// Before that raft refuses an election, or fails on entries that the server has meanwhile compacted.
func mayLead() bool {
	shown, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return false
	}
	s, ok := shown.Value().(raft.Status)
	return ok && s.Applied > 0 && s.Applied >= s.HardState.GetCommit()
}

// Died delivers the cause when etcd meets what it cannot survive (the disk is full, a file cannot be written). The
// store is then of no use; stop the control plane. Nothing acknowledged before is lost.
func (d *Disk) Died() <-chan error { return d.logs.died }

// Client returns a new client of the store. Closing it ends its watches.
func (d *Disk) Client() *kubernetes.Client {
	c := v3client.New(d.server)
	c.KV = wholeStream{c.KV}
	k := &kubernetes.Client{Client: c}
	k.Kubernetes = k
	return k
}

// wholeStream answers a streamed range by a plain one, as one piece. etcd's in-process client knows no streamed
// range and would have the API server ask in vain every ten minutes; without a network between there is nothing to
// gain by pieces.
type wholeStream struct{ clientv3.KV }

// GetStream implements clientv3.KV.
func (k wholeStream) GetStream(ctx context.Context, key string, opts ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	resp, err := k.Get(ctx, key, opts...)
	if err != nil {
		return nil, err
	}
	ch := make(chan clientv3.RangeStreamResponse, 1)
	ch <- clientv3.RangeStreamResponse{RangeResponse: (*pb.RangeResponse)(resp)}
	close(ch)
	return ch, nil
}

// Size is the size of the database file in bytes, which the quota is compared with.
func (d *Disk) Size() int64 { return d.server.Backend().Size() }

// SizeInUse is the part of Size that holds data; the rest is reused by later writes.
func (d *Disk) SizeInUse() int64 { return d.server.Backend().SizeInUse() }

// QuotaBytes is the size at which writes are refused.
func (d *Disk) QuotaBytes() int64 { return d.opts.QuotaBytes }

// Revision is the revision of the last commit.
func (d *Disk) Revision() int64 { return d.server.KV().Rev() }

// Stop writes everything out, ends all watches and unlocks the directory. Clients get etcd's "server stopped" error
// from then on. It returns when the files are closed, and may be called again.
func (d *Disk) Stop() {
	d.stopOnce.Do(func() {
		close(d.stopping)
		d.done.Wait()
		d.server.HardStop() // there is no other member to hand the lead to
		if err := d.lock.Close(); err != nil {
			d.opts.Logger.Warn("Cannot unlock the store's directory", "directory", d.dir, "error", err)
		}
	})
}

// watchQuota warns once each time the database grows past the warning level.
func (d *Disk) watchQuota() {
	defer d.done.Done()
	tick := time.NewTicker(quotaCheckInterval)
	defer tick.Stop()
	warned := false
	for {
		warned = d.warnOfQuota(warned)
		select {
		case <-tick.C:
		case <-d.stopping:
			return
		}
	}
}

func (d *Disk) warnOfQuota(warned bool) bool {
	size, quota := d.Size(), d.opts.QuotaBytes
	switch {
	case !warned && size >= quota/100*quotaWarnPercent:
		d.opts.Logger.Warn("The store is nearly full; at its limit writes are refused (delete objects, or start anew with `fairway up --reset`)",
			"directory", d.dir, "sizeBytes", size, "limitBytes", quota)
		return true
	case size < quota/100*quotaCalmPercent:
		return false
	}
	return warned
}
