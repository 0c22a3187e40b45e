// Package store keeps what the API server of the embedded control plane writes. It offers two stores behind the
// etcd v3 client that upstream's storage layer speaks to: Memory, an own implementation without raft, log or
// network for tests and rehearsals, and Disk, the real etcd in this process with fsync on. Use hands either of them
// to the API server's storage factory under an endpoint name. Behaviour (revisions, history, watches, compaction,
// leases, quota errors) follows etcd 3.7; where Memory promises more or less, its documentation says so.
package store
