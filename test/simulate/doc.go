// Package simulate is the whole house under random weather: from a seed it makes a cluster, what runs on it, load and
// faults, as the scenario and manifests a user would write, and its tests play them in virtual time while every invariant
// is watched (play.Document.Check). A seed that fails is a test case: the same seed fails the same way.
//
//	make build                                                        # the tests play bin/fairway-rehearse
//	go test ./test/simulate                                           # a few seeds
//	FAIRWAY_SIMULATE_SEEDS=5-34 go test ./test/simulate -run Clusters # thirty others
//	FAIRWAY_SIMULATE_SEEDS=42 go test ./test/simulate -artifacts      # one, its files kept
//	FAIRWAY_SIMULATE_SEEDS=7 go test ./test/simulate -run RolloutsKeep # one of the clusters of Rollouts
//	FAIRWAY_SEEDS=12 go test -timeout 60m ./test/simulate             # twelve of each kind, and longer (make explore)
//	FAIRWAY_NIGHTLY=1 go test -timeout 8h ./test/simulate             # hundreds of cluster-hours
package simulate
