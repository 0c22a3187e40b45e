package store

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// The checks of a request that do not depend on the state, with etcd's own errors.

func checkRange(r *pb.RangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrEmptyKey
	}
	if pb.RangeRequest_SortOrder_name[int32(r.SortOrder)] == "" || pb.RangeRequest_SortTarget_name[int32(r.SortTarget)] == "" {
		return rpctypes.ErrInvalidSortOption
	}
	return nil
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.Key) == 0:
		return rpctypes.ErrEmptyKey
	case r.IgnoreValue && len(r.Value) > 0:
		return rpctypes.ErrValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrLeaseProvided
	}
	return nil
}

func checkDelete(r *pb.DeleteRangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrEmptyKey
	}
	return nil
}

func checkTxn(r *pb.TxnRequest, ops int) error {
	most := max(len(r.Compare), len(r.Success), len(r.Failure))
	if most > ops {
		return rpctypes.ErrTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrEmptyKey
		}
	}
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if err := checkOp(op, ops-most); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, nestedOps int) error {
	switch {
	case op.GetRequestRange() != nil:
		return checkRange(op.GetRequestRange())
	case op.GetRequestPut() != nil:
		return checkPut(op.GetRequestPut())
	case op.GetRequestDeleteRange() != nil:
		return checkDelete(op.GetRequestDeleteRange())
	case op.GetRequestTxn() != nil:
		return checkTxn(op.GetRequestTxn(), nestedOps)
	}
	return rpctypes.ErrKeyNotFound // an operation without content
}

// touched is what a list of operations may write.
type touched struct {
	puts    map[string]bool
	deletes []span
}

func (t *touched) deleted(key string) bool {
	for _, d := range t.deletes {
		if d.holds(key) {
			return true
		}
	}
	return false
}

// touchedKeys refuses operations of one transaction that write a key twice, or both write and delete it: the order
// of events at one revision would matter. The two branches of a nested transaction exclude each other and may
// overlap. As in etcd, a deletion without an upper end escapes the check.
func touchedKeys(ops []*pb.RequestOp) (*touched, error) {
	all := &touched{puts: map[string]bool{}}
	if len(ops) == 1 && ops[0].GetRequestTxn() == nil { // nothing to overlap with
		return all.one(ops[0]), nil
	}
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			all.remove(d)
		}
	}
	for _, op := range ops {
		if t := op.GetRequestTxn(); t != nil {
			if err := all.nest(t); err != nil {
				return nil, err
			}
		}
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			key := string(p.Key)
			if all.puts[key] || all.deleted(key) {
				return nil, rpctypes.ErrDuplicateKey
			}
			all.puts[key] = true
		}
	}
	return all, nil
}

func (t *touched) remove(d *pb.DeleteRangeRequest) {
	if s := (span{string(d.Key), string(d.RangeEnd)}); !s.open() {
		t.deletes = append(t.deletes, s)
	}
}

func (t *touched) one(op *pb.RequestOp) *touched {
	if d := op.GetRequestDeleteRange(); d != nil {
		t.remove(d)
	} else if p := op.GetRequestPut(); p != nil {
		t.puts[string(p.Key)] = true
	}
	return t
}

// nest adds what a nested transaction may write.
func (t *touched) nest(r *pb.TxnRequest) error {
	then, err := touchedKeys(r.Success)
	if err != nil {
		return err
	}
	otherwise, err := touchedKeys(r.Failure)
	if err != nil {
		return err
	}
	for key := range then.puts {
		if t.puts[key] || t.deleted(key) {
			return rpctypes.ErrDuplicateKey
		}
	}
	for key := range otherwise.puts {
		if t.puts[key] || t.deleted(key) {
			return rpctypes.ErrDuplicateKey
		}
	}
	for _, branch := range []*touched{then, otherwise} {
		for key := range branch.puts {
			t.puts[key] = true
		}
		t.deletes = append(t.deletes, branch.deletes...)
	}
	return nil
}
