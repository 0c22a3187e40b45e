package store

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"pgregory.net/rapid"
)

// side is one of the two stores that are compared, with the leases it granted, in order.
type side struct {
	*kubernetes.Client
	leases  []clientv3.LeaseID
	watches []*modelWatch
}

type modelWatch struct {
	from   int64
	prevKV bool
	ch     clientv3.WatchChan
}

func (s *side) lease(n int) clientv3.LeaseID {
	switch {
	case n == 0:
		return 0
	case n > len(s.leases):
		return 987_654 // one that was never granted
	}
	return s.leases[n-1]
}

// leaseName names a lease by the order of its grant: the ids differ.
func (s *side) leaseName(id int64) string {
	if id == 0 {
		return "-"
	}
	return fmt.Sprint(slices.Index(s.leases, clientv3.LeaseID(id)))
}

func (s *side) show(kvs ...*mvccpb.KeyValue) string {
	var out strings.Builder
	for _, kv := range kvs {
		if kv == nil {
			out.WriteString(" nil")
			continue
		}
		fmt.Fprintf(&out, " %s=%q c%d m%d v%d l%s", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, s.leaseName(kv.Lease))
	}
	return out.String()
}

func (s *side) showRange(r *pb.RangeResponse) string {
	return fmt.Sprintf("range@%d count=%d more=%v%s", r.Header.GetRevision(), r.Count, r.More, s.show(r.Kvs...))
}

func (s *side) showTxn(r *pb.TxnResponse) string {
	var out strings.Builder
	fmt.Fprintf(&out, "txn@%d %v", r.Header.GetRevision(), r.Succeeded)
	for _, op := range r.Responses {
		switch v := op.Response.(type) {
		case *pb.ResponseOp_ResponseRange:
			out.WriteString(" [" + s.showRange(v.ResponseRange) + "]")
		case *pb.ResponseOp_ResponsePut:
			fmt.Fprintf(&out, " [put@%d%s]", v.ResponsePut.Header.GetRevision(), s.show(v.ResponsePut.PrevKv))
		case *pb.ResponseOp_ResponseDeleteRange:
			fmt.Fprintf(&out, " [delete@%d %d%s]", v.ResponseDeleteRange.Header.GetRevision(), v.ResponseDeleteRange.Deleted, s.show(v.ResponseDeleteRange.PrevKvs...))
		case *pb.ResponseOp_ResponseTxn:
			out.WriteString(" [" + s.showTxn(v.ResponseTxn) + "]")
		}
	}
	return out.String()
}

// do runs one operation and describes its answer.
func (s *side) do(op clientv3.Op) string {
	r, err := s.Do(context.Background(), op)
	switch {
	case err != nil:
		return "error " + err.Error()
	case r.Get() != nil:
		return s.showRange((*pb.RangeResponse)(r.Get()))
	case r.Put() != nil:
		return fmt.Sprintf("put@%d%s", r.Put().Header.Revision, s.show(r.Put().PrevKv))
	case r.Del() != nil:
		return fmt.Sprintf("delete@%d %d%s", r.Del().Header.Revision, r.Del().Deleted, s.show(r.Del().PrevKvs...))
	}
	return s.showTxn((*pb.TxnResponse)(r.Txn()))
}

// step is an operation, to be run on both sides.
type step func(*side) string

// script draws steps.
type script struct {
	*rapid.T
	revision func() int64
	highest  int64 // revision that a compaction may have reached
	// clears tells that the transaction being drawn deletes a span without an end. etcd does not refuse a put beside it as it
	// does beside other deletes, but crashes, or tells watches of one or of two events: nothing to compare with.
	clears *bool
}

var modelKeys = []string{"/a", "/a/", "/a/1", "/a/2", "/a/2/x", "/b/1", "/b/2", "/c"}

func (d *script) key() string { return rapid.SampledFrom(modelKeys).Draw(d.T, "key") }

func (d *script) rev() int64 {
	return max(0, d.revision()-int64(rapid.IntRange(-2, 15).Draw(d.T, "age")))
}

func (d *script) yes(name string) bool { return rapid.Bool().Draw(d.T, name) }

// span draws a key, prefix, range (an empty one only if it is not to be watched) or open end.
func (d *script) span(watched bool) (string, []clientv3.OpOption) {
	switch key := d.key(); rapid.IntRange(0, 3).Draw(d.T, "span") {
	case 0:
		return key, []clientv3.OpOption{clientv3.WithPrefix()}
	case 1:
		if end := d.key(); end > key || !watched {
			return key, []clientv3.OpOption{clientv3.WithRange(end)}
		}
		return key, nil
	case 2:
		return key, []clientv3.OpOption{clientv3.WithFromKey()}
	default:
		return key, nil
	}
}

// operation draws what fits a transaction; lease numbers become ids on each side.
func (d *script) operation(depth int) func(*side) clientv3.Op {
	kind := rapid.IntRange(0, 6).Draw(d.T, "operation")
	switch {
	case kind <= 2:
		return d.put()
	case kind == 3:
		key, options := d.span(false)
		if d.yes("previous") {
			options = append(options, clientv3.WithPrevKV())
		}
		if op := clientv3.OpDelete(key, options...); string(op.RangeBytes()) == "\x00" {
			*d.clears = true
		}
		return func(*side) clientv3.Op { return clientv3.OpDelete(key, options...) }
	case kind == 6 && depth < 2:
		return d.txn(depth + 1)
	}
	return d.get()
}

func (d *script) put() func(*side) clientv3.Op {
	key, value, lease := d.key(), rapid.StringMatching("[a-c]{0,3}").Draw(d.T, "value"), max(0, rapid.IntRange(-3, 3).Draw(d.T, "lease"))
	kind, clears := rapid.IntRange(0, 5).Draw(d.T, "put"), d.clears
	return func(s *side) clientv3.Op {
		switch {
		case *clears:
			return clientv3.OpGet(key)
		case kind == 0:
			return clientv3.OpPut(key, "", clientv3.WithIgnoreValue(), clientv3.WithLease(s.lease(lease)))
		case kind == 1:
			return clientv3.OpPut(key, value, clientv3.WithIgnoreLease(), clientv3.WithPrevKV())
		case kind == 2:
			return clientv3.OpPut(key, value, clientv3.WithPrevKV(), clientv3.WithLease(s.lease(lease)))
		}
		return clientv3.OpPut(key, value, clientv3.WithLease(s.lease(lease)))
	}
}

func (d *script) get() func(*side) clientv3.Op {
	key, options := d.span(false)
	if d.yes("limited") {
		options = append(options, clientv3.WithLimit(int64(rapid.IntRange(0, 4).Draw(d.T, "limit"))))
	}
	if d.yes("old") {
		options = append(options, clientv3.WithRev(d.rev()))
	}
	switch rapid.IntRange(0, 7).Draw(d.T, "form") {
	case 0:
		options = append(options, clientv3.WithKeysOnly())
	case 1:
		options = append(options, clientv3.WithCountOnly())
	case 2:
		options = append(options, clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	case 3:
		options = append(options, clientv3.WithMinModRev(d.rev()), clientv3.WithMaxCreateRev(d.rev()))
	}
	return func(*side) clientv3.Op { return clientv3.OpGet(key, options...) }
}

func (d *script) txn(depth int) func(*side) clientv3.Op {
	var compares []clientv3.Cmp
	for range rapid.IntRange(0, 2).Draw(d.T, "compares") {
		key, sign := d.key(), rapid.SampledFrom([]string{"=", "!=", ">", "<"}).Draw(d.T, "sign")
		c := clientv3.Compare(clientv3.ModRevision(key), sign, d.rev())
		switch rapid.IntRange(0, 4).Draw(d.T, "target") {
		case 0:
			c = clientv3.Compare(clientv3.Version(key), sign, rapid.IntRange(0, 3).Draw(d.T, "version"))
		case 1:
			c = clientv3.Compare(clientv3.CreateRevision(key), sign, d.rev())
		case 2:
			c = clientv3.Compare(clientv3.Value(key), sign, rapid.StringMatching("[a-c]{0,3}").Draw(d.T, "value"))
		case 3:
			c = c.WithPrefix()
		}
		compares = append(compares, c)
	}
	branch := func(name string) (ops []func(*side) clientv3.Op) {
		for range rapid.IntRange(0, 3).Draw(d.T, name) {
			ops = append(ops, d.operation(depth))
		}
		return ops
	}
	then, otherwise := branch("then"), branch("else")
	build := func(s *side, ops []func(*side) clientv3.Op) (out []clientv3.Op) {
		for _, op := range ops {
			out = append(out, op(s))
		}
		return out
	}
	return func(s *side) clientv3.Op { return clientv3.OpTxn(compares, build(s, then), build(s, otherwise)) }
}

// step draws anything that a client can do.
func (d *script) step() step {
	ctx := context.Background()
	d.clears = new(bool)
	switch rapid.IntRange(0, 13).Draw(d.T, "step") {
	case 0:
		rev := d.rev()
		d.highest = max(d.highest, min(rev, d.revision()))
		return func(s *side) string {
			if _, err := s.Compact(ctx, rev); err != nil {
				return "compact: " + err.Error()
			}
			return "compacted"
		}
	case 1:
		return func(s *side) string {
			r, err := s.Grant(ctx, 10_000)
			if err != nil {
				return err.Error()
			}
			s.leases = append(s.leases, r.ID)
			return fmt.Sprint("granted ", r.TTL)
		}
	case 2:
		n := rapid.IntRange(1, 4).Draw(d.T, "lease")
		return func(s *side) string {
			r, err := s.Revoke(ctx, s.lease(n))
			if err != nil {
				return "revoke: " + err.Error()
			}
			return fmt.Sprint("revoked@", r.Header.Revision)
		}
	case 3:
		key, options := d.span(true)
		w := modelWatch{from: d.rev(), prevKV: d.yes("previous")}
		options = append(options, clientv3.WithRev(w.from))
		if w.prevKV {
			options = append(options, clientv3.WithPrevKV())
		}
		if rapid.IntRange(0, 5).Draw(d.T, "filter") == 0 {
			options = append(options, clientv3.WithFilterPut())
		}
		return func(s *side) string {
			mine := w
			mine.ch = s.Watch(ctx, key, options...)
			s.watches = append(s.watches, &mine)
			return "watching"
		}
	case 4, 5:
		key, value, rev, read := d.key(), rapid.StringMatching("[a-c]{1,3}").Draw(d.T, "value"), d.rev(), d.yes("read")
		if d.yes("any revision") {
			rev = 0
		}
		return func(s *side) string {
			r, err := s.Kubernetes.OptimisticPut(ctx, key, []byte(value), rev, kubernetes.PutOptions{GetOnFailure: read})
			return fmt.Sprint("optimistic put ", r.Succeeded, r.Revision, s.show(r.KV), err)
		}
	case 6:
		key, rev, read := d.key(), d.rev(), d.yes("read")
		return func(s *side) string {
			r, err := s.Kubernetes.OptimisticDelete(ctx, key, rev, kubernetes.DeleteOptions{GetOnFailure: read})
			return fmt.Sprint("optimistic delete ", r.Succeeded, r.Revision, s.show(r.KV), err)
		}
	case 7:
		prefix, o := d.key(), kubernetes.ListOptions{Limit: int64(rapid.IntRange(0, 3).Draw(d.T, "limit"))}
		if d.yes("old") {
			o.Revision = d.rev()
		}
		if d.yes("continued") {
			o.Continue = prefix + "1\x00"
		}
		return func(s *side) string {
			r, err := s.Kubernetes.List(ctx, prefix, o)
			n, countErr := s.Kubernetes.Count(ctx, prefix, kubernetes.CountOptions{})
			return fmt.Sprint("list ", r.Revision, r.Count, s.show(r.Kvs...), err, n, countErr)
		}
	case 8:
		return func(op func(*side) clientv3.Op) step { return func(s *side) string { return s.do(op(s)) } }(d.txn(0))
	}
	op := d.operation(2)
	return func(s *side) string { return s.do(op(s)) }
}

// history is what a watch has seen when it is up to date with a revision: its events, and whether it ended because
// history was compacted.
func (s *side) history(t *rapid.T, w *modelWatch, revision int64) (events []*clientv3.Event, compacted bool) {
	ask := time.NewTicker(2 * time.Millisecond)
	defer ask.Stop()
	patience := time.After(20 * time.Second)
	for {
		select {
		case <-patience:
			t.Fatalf("the watch from %d neither ends nor gets to revision %d; events: %v", w.from, revision, events)
		case r, open := <-w.ch:
			switch {
			case !open:
				return events, true
			case r.Err() != nil:
				compacted = true
			case r.IsProgressNotify() && r.Header.Revision >= revision:
				return events, false
			}
			events = append(events, r.Events...)
		case <-ask.C:
			_ = s.RequestProgress(context.Background())
		}
	}
}

func TestMemoryAnswersAsEtcdDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir) // not at the end: a store takes megabytes, and there are many
		disk := openDisk(t, dir, DiskOptions{})
		defer disk.Stop()
		memory := NewMemory(MemoryOptions{CompactExactly: true})
		defer memory.Stop()
		want, got := &side{Client: disk.Client()}, &side{Client: memory.Client()}
		defer want.Close()
		defer got.Close()
		draw := &script{T: rt, revision: memory.Revision}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			next := draw.step()
			if w, g := next(want), next(got); w != g {
				rt.Fatalf("etcd:   %s\nmemory: %s", w, g)
			}
			if memory.Revision() != disk.Revision() {
				rt.Fatalf("revision is %d, in etcd %d", memory.Revision(), disk.Revision())
			}
		}
		for range 3 { // past the revisions at which watches may begin, without which etcd reports no progress
			for _, s := range []*side{want, got} {
				s.do(clientv3.OpPut("/end", ""))
			}
		}
		for i := range got.watches {
			compareWatches(rt, draw, want, got, i)
		}
	})
}

// compareWatches compares what two watches have seen. Where history was compacted meanwhile, etcd's answer depends on
// when its own goroutines ran: it may end the watch, or leave out previous values. The events until then must agree.
func compareWatches(t *rapid.T, draw *script, want, got *side, i int) {
	w, wantEnded := want.history(t, want.watches[i], draw.revision())
	g, gotEnded := got.history(t, got.watches[i], draw.revision())
	ends := wantEnded || gotEnded
	if ends && got.watches[i].from > draw.highest {
		t.Fatalf("watch %d from %d ended (etcd %v, memory %v), compacted was %d", i, got.watches[i].from, wantEnded, gotEnded, draw.highest)
	}
	if !ends && len(w) != len(g) {
		t.Fatalf("watch %d from %d saw %d events, in etcd %d:\n%v\n%v", i, got.watches[i].from, len(g), len(w), g, w)
	}
	for j := range min(len(w), len(g)) {
		a, b := w[j], g[j]
		if a.Type != b.Type || want.show(a.Kv) != got.show(b.Kv) {
			t.Fatalf("watch %d event %d is %v%s, in etcd %v%s", i, j, b.Type, got.show(b.Kv), a.Type, want.show(a.Kv))
		}
		if a.PrevKv == nil && a.Kv.ModRevision <= draw.highest+1 {
			continue
		}
		if want.show(a.PrevKv) != got.show(b.PrevKv) {
			t.Fatalf("watch %d event %d %s has previous%s, in etcd%s", i, j, got.show(b.Kv), got.show(b.PrevKv), want.show(a.PrevKv))
		}
	}
}
