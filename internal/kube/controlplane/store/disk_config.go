package store

import (
	"fmt"
	"net/url"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

const (
	memberName = "fairway"
	// memberURL names the member in its own membership record. Nothing listens there and nothing dials it; an IP
	// address keeps etcd from resolving a name.
	memberURL = "http://127.0.0.1:2380"
	// tickMs and electionTicks make the shortest lease three seconds (1.5 election timeouts) at five wake-ups a
	// second; the election itself is not waited for (see lead).
	tickMs        = 200
	electionTicks = 10
	// logSegmentBytes is the size of a file of the write-ahead log, allocated in advance; up to maxLogFiles of them
	// are kept. etcd's 64 MB are meant for servers.
	logSegmentBytes = 16 << 20
	maxLogFiles     = 5
	maxSnapFiles    = 2
	// progressInterval is how often idle watches are told the revision: kubeadm's setting for Kubernetes.
	progressInterval = 5 * time.Second
)

var segmentOnce sync.Once

// serverConfig is the configuration of a durable single member without listeners.
func serverConfig(dir string, opts DiskOptions, logs *logBridge) (config.ServerConfig, error) {
	segmentOnce.Do(func() { wal.SegmentSizeBytes = logSegmentBytes })
	self, err := url.Parse(memberURL)
	if err != nil {
		return config.ServerConfig{}, err
	}
	peers, err := types.NewURLsMap(memberName + "=" + memberURL)
	if err != nil {
		return config.ServerConfig{}, fmt.Errorf("the member's address: %w", err)
	}
	lg := logs.zap()
	defaults := embed.NewConfig()
	return config.ServerConfig{
		Name:                        memberName,
		ClientURLs:                  types.URLs{*self},
		PeerURLs:                    types.URLs{*self},
		DataDir:                     dir,
		SnapshotCount:               defaults.SnapshotCount,
		SnapshotCatchUpEntries:      defaults.SnapshotCatchUpEntries,
		MaxSnapFiles:                maxSnapFiles,
		MaxWALFiles:                 maxLogFiles,
		InitialPeerURLsMap:          peers,
		InitialClusterToken:         memberName,
		NewCluster:                  true,
		TickMs:                      tickMs,
		ElectionTicks:               electionTicks,
		InitialElectionTickAdvance:  true,
		AutoCompactionMode:          embed.CompactorModePeriodic, // off: the API server compacts
		QuotaBackendBytes:           opts.QuotaBytes,
		MaxTxnOps:                   defaults.MaxTxnOps,
		MaxRequestBytes:             defaults.MaxRequestBytes,
		StrictReconfigCheck:         true,
		AuthToken:                   defaults.AuthToken,
		BcryptCost:                  defaults.BcryptCost,
		TokenTTL:                    defaults.AuthTokenTTL,
		PreVote:                     true,
		Logger:                      lg,
		WatchProgressNotifyInterval: progressInterval,
		DowngradeCheckTime:          defaults.DowngradeCheckTime,
		WarningApplyDuration:        defaults.WarningApplyDuration,
		WarningUnaryRequestDuration: defaults.WarningUnaryRequestDuration,
		MaxLearners:                 defaults.MaxLearners,
		V2Deprecation:               defaults.V2DeprecationEffective(),
		ServerFeatureGate:           features.NewDefaultServerFeatureGate(memberName, lg),
		Metrics:                     defaults.Metrics,
	}, nil
}
