package store

import (
	"bytes"
	"cmp"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// maxTxnOps is the number of operations that one transaction may have: etcd's default.
const maxTxnOps = 128

// txn runs a transaction: all comparisons and checks against the state before it, then its operations in order, as
// one revision.
func (m *Memory) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r, maxTxnOps); err != nil {
		return nil, err
	}
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		if _, err := touchedKeys(branch); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil, rpctypes.ErrStopped
	}
	plan := m.planLocked(r)
	var a admission
	if err := m.admitLocked(plan, &a); err != nil {
		return nil, err
	}
	if a.room > 0 {
		if err := m.roomLocked(a.room); err != nil {
			return nil, err
		}
	}
	c := m.newCommit()
	resp := m.executeLocked(c, plan)
	resp.Header = m.header(m.latestLocked(c))
	m.commitLocked(c)
	return resp, nil
}

// txnPlan is a transaction with its branch chosen, and those of the transactions nested in that branch.
type txnPlan struct {
	succeeded bool
	ops       []*pb.RequestOp
	nested    []*txnPlan // one an operation; nil for others
}

func (m *Memory) planLocked(r *pb.TxnRequest) *txnPlan {
	p := &txnPlan{succeeded: true, ops: r.Success}
	for _, c := range r.Compare {
		if !m.compareLocked(c) {
			p.succeeded, p.ops = false, r.Failure
			break
		}
	}
	for i, op := range p.ops {
		if t := op.GetRequestTxn(); t != nil {
			if p.nested == nil {
				p.nested = make([]*txnPlan, len(p.ops))
			}
			p.nested[i] = m.planLocked(t)
		}
	}
	return p
}

// admission is what has been admitted of a transaction.
type admission struct {
	room    int64  // that its puts need
	cleared []span // without an end: the only deletes that a put of the same key may follow
}

// admitLocked checks what depends on the state: revisions to read at, leases, keys whose old value is to be kept.
func (m *Memory) admitLocked(p *txnPlan, a *admission) error {
	for i, op := range p.ops {
		var err error
		switch {
		case op.GetRequestRange() != nil:
			err = m.readableLocked(op.GetRequestRange().Revision, m.rev)
		case op.GetRequestPut() != nil:
			put := op.GetRequestPut()
			a.room += versionBytes + int64(len(put.Key)+len(put.Value))
			err = m.admitPutLocked(put, a.cleared)
		case op.GetRequestDeleteRange() != nil:
			d := op.GetRequestDeleteRange()
			if s := (span{string(d.Key), string(d.RangeEnd)}); s.open() {
				a.cleared = append(a.cleared, s)
			}
		case op.GetRequestTxn() != nil:
			err = m.admitLocked(p.nested[i], a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// admitPutLocked refuses to keep the value or lease of a key that does not exist, or was cleared just before: there etcd 3.7
// crashes.
func (m *Memory) admitPutLocked(r *pb.PutRequest, cleared []span) error {
	if r.Lease != 0 && !m.leases.has(r.Lease) {
		return rpctypes.ErrLeaseNotFound
	}
	key := string(r.Key)
	if (r.IgnoreValue || r.IgnoreLease) && (m.current(key) == nil || slices.ContainsFunc(cleared, func(s span) bool { return s.holds(key) })) {
		return rpctypes.ErrKeyNotFound
	}
	return nil
}

// executeLocked runs the operations of a plan that has been admitted; nothing in it can fail. The
// header of a nested transaction stays empty, as in etcd.
func (m *Memory) executeLocked(c *commit, p *txnPlan) *pb.TxnResponse {
	resp := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: p.succeeded, Responses: make([]*pb.ResponseOp, len(p.ops))}
	for i, op := range p.ops {
		out := &pb.ResponseOp{}
		resp.Responses[i] = out
		switch {
		case op.GetRequestRange() != nil:
			rr, _ := m.rangeLocked(op.GetRequestRange(), m.latestLocked(c)) // admitted above
			out.Response = &pb.ResponseOp_ResponseRange{ResponseRange: rr}
		case op.GetRequestPut() != nil:
			out.Response = &pb.ResponseOp_ResponsePut{ResponsePut: m.runPutLocked(c, op.GetRequestPut())}
		case op.GetRequestDeleteRange() != nil:
			out.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: m.runDeleteLocked(c, op.GetRequestDeleteRange())}
		case op.GetRequestTxn() != nil:
			out.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: m.executeLocked(c, p.nested[i])}
		}
	}
	return resp
}

// latestLocked is the revision that the transaction's own reads see.
func (m *Memory) latestLocked(c *commit) int64 {
	if len(c.events) > 0 {
		return c.rev()
	}
	return m.rev
}

func (m *Memory) runPutLocked(c *commit, r *pb.PutRequest) *pb.PutResponse {
	key, value, lease := string(r.Key), r.Value, r.Lease
	before := m.current(key)
	if r.IgnoreValue {
		value = before.Value
	}
	if r.IgnoreLease {
		lease = before.Lease
	}
	m.putLocked(c, key, value, lease)
	resp := &pb.PutResponse{Header: m.header(c.rev())}
	if r.PrevKv {
		resp.PrevKv = before
	}
	return resp
}

func (m *Memory) runDeleteLocked(c *commit, r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	before := m.deleteSpanLocked(c, span{string(r.Key), string(r.RangeEnd)})
	resp := &pb.DeleteRangeResponse{Header: m.header(m.latestLocked(c)), Deleted: int64(len(before))}
	if r.PrevKv {
		resp.PrevKvs = before
	}
	return resp
}

// compareLocked tells whether a comparison holds for every key of its span. A key that does not exist compares as
// zero, and fails every comparison of its value.
func (m *Memory) compareLocked(c *pb.Compare) bool {
	holds, any := true, false
	m.walkLocked(span{string(c.Key), string(c.RangeEnd)}, 0, func(_ *item, kv *mvccpb.KeyValue) bool {
		any = true
		holds = compareHolds(c, kv)
		return holds
	})
	if !any {
		return c.Target != pb.Compare_VALUE && compareHolds(c, &mvccpb.KeyValue{})
	}
	return holds
}

func compareHolds(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	var order int
	switch c.Target {
	case pb.Compare_VALUE:
		order = bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_CREATE:
		order = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VERSION:
		order = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_LEASE:
		order = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	}
	return true
}
