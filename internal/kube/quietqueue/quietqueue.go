// Package quietqueue keeps client-go's work queues without metrics. With them every queue wakes twice a second to update
// a gauge; a control plane has some eighty queues, and each wake-up costs a rehearsal as much as real work.
//
// The first provider of queue metrics wins. This package takes that place before
// k8s.io/component-base/metrics/prometheus/workqueue does: initialisation goes by import path, and this one sorts first.
package quietqueue

import (
	"sync"
	_ "unsafe" // go:linkname

	_ "k8s.io/client-go/util/workqueue"
)

//go:linkname setProviderOnce k8s.io/client-go/util/workqueue.setGlobalMetricsProviderOnce
var setProviderOnce sync.Once

func init() { setProviderOnce.Do(func() {}) }
