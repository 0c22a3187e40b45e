package controlplane

import (
	"context"
	"fmt"
	"os"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	generic "k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	pkgcontroller "k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/controller/cronjob"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/disruption"
	endpointslice "k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/replication"
	"k8s.io/kubernetes/pkg/controller/resourcequota"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
	"k8s.io/kubernetes/pkg/controller/statefulset"
	"k8s.io/kubernetes/pkg/controller/tainteviction"
	"k8s.io/kubernetes/pkg/controller/ttlafterfinished"
	"k8s.io/kubernetes/pkg/controller/volume/ephemeral"
	"k8s.io/kubernetes/pkg/controller/volume/persistentvolume"
	"k8s.io/kubernetes/pkg/controller/volume/pvcprotection"
	"k8s.io/kubernetes/pkg/controller/volume/pvprotection"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"
)

// discoverEvery is how often the garbage collector and the quota controller look for new kinds; upstream's 30 s would be
// 2,880 full discoveries a rehearsed day.
const discoverEvery = time.Hour

// parts is what upstream's controllers are made of in a rehearsal: one informer factory for all of them and the
// scheduler, so that each event is decoded once.
type parts struct {
	p        *ControlPlane
	f        informers.SharedInformerFactory
	mixed    informerfactory.InformerFactory
	metadata metadata.Interface
	mapper   meta.ResettableRESTMapper
	started  chan struct{}
	run      []func(context.Context)
}

func (b *parts) client(name string) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(b.config(name)) // the configuration is ours; it fails only when it is wrong
}

func (b *parts) config(name string) *rest.Config {
	return rest.AddUserAgent(inProcessConfig(b.p.wire.asControllers()), name)
}

func (b *parts) add(run func(context.Context)) { b.run = append(b.run, run) }

// dropManagedFields saves memory and copying: no controller reads them.
func dropManagedFields(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil && m.GetManagedFields() != nil {
		m.SetManagedFields(nil)
	}
	return obj, nil
}

func (p *ControlPlane) startRehearsalControllers(ctx context.Context) error {
	b := &parts{p: p, started: make(chan struct{})}
	b.f = informers.NewSharedInformerFactoryWithOptions(b.client("shared-informers"), 0, informers.WithTransform((&leanCache{texts: map[string]string{}}).transform))
	p.shared = b.f
	var err error
	if b.metadata, err = metadata.NewForConfig(b.config("metadata-informers")); err != nil {
		return err
	}
	metaFactory := metadatainformer.NewSharedInformerFactoryWithOptions(b.metadata, 0, metadatainformer.WithTransform(dropManagedFields))
	b.mixed = informerfactory.NewInformerFactory(b.f, metaFactory)
	b.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(b.client("controller-discovery").Discovery()))
	p.mapper = b.mapper
	for _, add := range []func(context.Context, *parts) error{addWorkloads, addJobs, addServices, addNodes, addCleaners, addPolicies, addVolumes} {
		if err := add(ctx, b); err != nil {
			return fmt.Errorf("kube-controller-manager: %w", err)
		}
	}
	b.mixed.Start(ctx.Done())
	b.f.WaitForCacheSync(ctx.Done())
	close(b.started)
	for _, run := range b.run {
		p.ctrlParts.Go(func() { run(ctx) })
	}
	return nil
}

func addWorkloads(ctx context.Context, b *parts) error {
	pods, apps := newIndexedPods(b.f.Core().V1().Pods()), b.f.Apps().V1()
	dc, err := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), pods, b.client("deployment-controller"))
	if err != nil {
		return err
	}
	if err := paceStuckDeployments(dc); err != nil {
		return err
	}
	b.add(func(ctx context.Context) { dc.Run(ctx, 5) })
	rsc := replicaset.NewReplicaSetController(ctx, apps.ReplicaSets(), pods, b.client("replicaset-controller"), replicaset.BurstReplicas)
	b.add(func(ctx context.Context) { rsc.Run(ctx, 5) })
	rc := replication.NewReplicationManager(ctx, pods, b.f.Core().V1().ReplicationControllers(), b.client("replication-controller"), replication.BurstReplicas)
	b.add(func(ctx context.Context) { rc.Run(ctx, 1) })
	ssc := statefulset.NewStatefulSetController(ctx, pods, apps.StatefulSets(), b.f.Core().V1().PersistentVolumeClaims(), apps.ControllerRevisions(), b.client("statefulset-controller"))
	b.add(func(ctx context.Context) { ssc.Run(ctx, 5) })
	dsc, err := daemon.NewDaemonSetsController(ctx, apps.DaemonSets(), apps.ControllerRevisions(), pods, b.f.Core().V1().Nodes(), b.client("daemon-set-controller"),
		flowcontrol.NewBackOff(time.Second, 15*time.Minute))
	if err != nil {
		return err
	}
	b.add(func(ctx context.Context) { dsc.Run(ctx, 2) })
	return nil
}

func addJobs(ctx context.Context, b *parts) error {
	jc, err := job.NewController(ctx, b.client("job-controller"), b.f.Core().V1().Pods(), b.f.Batch().V1().Jobs(), nil, nil)
	if err != nil {
		return err
	}
	b.add(func(ctx context.Context) { jc.Run(ctx, 5) })
	cj, err := cronjob.NewControllerV2(ctx, b.f.Batch().V1().Jobs(), b.f.Batch().V1().CronJobs(), b.client("cronjob-controller"))
	if err != nil {
		return err
	}
	b.add(func(ctx context.Context) { cj.Run(ctx, 5) })
	ttl := ttlafterfinished.New(ctx, b.f.Batch().V1().Jobs(), b.client("ttl-after-finished-controller"))
	b.add(func(ctx context.Context) { ttl.Run(ctx, 2) })
	return nil
}

func addServices(ctx context.Context, b *parts) error {
	const (
		maxEndpointsPerSlice = 100 // upstream's default
		// batchPeriod makes one update of what pods change within a millisecond, as happens by itself where informers take
		// longer than that; without it, each of a hundred pods that start together makes the slices anew.
		batchPeriod = time.Millisecond
	)
	core := b.f.Core().V1()
	es := endpointslice.NewController(ctx, newIndexedPods(core.Pods()), core.Services(), core.Nodes(), b.f.Discovery().V1().EndpointSlices(), maxEndpointsPerSlice, b.client("endpointslice-controller"), batchPeriod)
	b.add(func(ctx context.Context) { es.Run(ctx, 5) })
	sa, err := serviceaccount.NewServiceAccountsController(klog.FromContext(ctx), core.ServiceAccounts(), core.Namespaces(), b.client("service-account-controller"), serviceaccount.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return err
	}
	b.add(func(ctx context.Context) { sa.Run(ctx, 1) })
	ca, err := os.ReadFile(b.p.identity.path("ca.crt"))
	if err != nil {
		return err
	}
	pub, err := rootcacertpublisher.NewPublisher(core.ConfigMaps(), core.Namespaces(), b.client("root-ca-cert-publisher"), ca)
	if err != nil {
		return err
	}
	b.add(func(ctx context.Context) { pub.Run(ctx, 1) })
	return nil
}

func addNodes(ctx context.Context, b *parts) error {
	pods, nodes := b.f.Core().V1().Pods(), b.f.Core().V1().Nodes()
	te, err := tainteviction.New(ctx, b.client("node-controller"), pods, nodes, "taint-eviction-controller")
	if err != nil {
		return err
	}
	b.add(te.Run)
	orphans, err := newOrphanage(b)
	if err != nil {
		return err
	}
	b.add(orphans.run)
	b.p.life = newLifecycle(b)
	if err := b.p.life.set(ctx, false); err != nil {
		return err
	}
	b.add(func(ctx context.Context) { b.p.life.run(ctx) })
	return nil
}

func addCleaners(ctx context.Context, b *parts) error {
	cfg := b.config("generic-garbage-collector")
	client, meta := b.client("generic-garbage-collector"), metadata.NewForConfigOrDie(cfg)
	ignored := map[schema.GroupResource]struct{}{}
	for _, r := range neverOwned {
		ignored[schema.ParseGroupResource(r)] = struct{}{}
	}
	gc, err := garbagecollector.NewGarbageCollector(ctx, client, meta, b.mapper, ignored, b.mixed, b.started)
	if err != nil {
		return err
	}
	b.add(func(ctx context.Context) { gc.Run(ctx, 5, discoverEvery) })
	b.add(func(ctx context.Context) { gc.Sync(ctx, client.Discovery(), discoverEvery) })
	ns := b.client("namespace-controller")
	nsc := namespace.NewNamespaceController(ctx, ns, metadata.NewForConfigOrDie(b.config("namespace-controller")), ns.Discovery().ServerPreferredNamespacedResources,
		b.f.Core().V1().Namespaces(), 24*time.Hour, v1.FinalizerKubernetes)
	b.add(func(ctx context.Context) { nsc.Run(ctx, 2) })
	return nil
}

// neverOwned are kinds that neither own nor are owned in a run, so that the garbage collector need not watch them.
var neverOwned = []string{"events", "events.events.k8s.io", "leases.coordination.k8s.io", "flowschemas.flowcontrol.apiserver.k8s.io",
	"prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", "apiservices.apiregistration.k8s.io", "csistoragecapacities.storage.k8s.io",
	"csinodes.storage.k8s.io", "csidrivers.storage.k8s.io", "volumeattachments.storage.k8s.io", "ipaddresses.networking.k8s.io",
	"servicecidrs.networking.k8s.io", "clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io",
	"runtimeclasses.node.k8s.io", "priorityclasses.scheduling.k8s.io", "storageclasses.storage.k8s.io"}

func addPolicies(ctx context.Context, b *parts) error {
	client := b.client("disruption-controller")
	scales, err := scale.NewForConfig(b.config("disruption-controller"), b.mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(client.Discovery()))
	if err != nil {
		return err
	}
	core, apps := b.f.Core().V1(), b.f.Apps().V1()
	dc := disruption.NewDisruptionController(ctx, newIndexedPods(core.Pods()), b.f.Policy().V1().PodDisruptionBudgets(), core.ReplicationControllers(), apps.ReplicaSets(), apps.Deployments(),
		apps.StatefulSets(), client, b.mapper, scales, client.Discovery())
	b.add(func(ctx context.Context) { dc.Run(ctx, 5) })
	quotas := b.client("resourcequota-controller")
	discover := quotas.Discovery().ServerPreferredNamespacedResources
	cfg, err := quotainstall.NewQuotaConfigurationForControllers(generic.ListerFuncForResourceFunc(b.f.ForResource), b.f)
	if err != nil {
		return err
	}
	rq, err := resourcequota.NewController(ctx, &resourcequota.ControllerOptions{
		QuotaClient: quotas.CoreV1(), ResourceQuotaInformer: core.ResourceQuotas(), ResyncPeriod: pkgcontroller.StaticResyncPeriodFunc(24 * time.Hour),
		InformerFactory: b.mixed, ReplenishmentResyncPeriod: pkgcontroller.StaticResyncPeriodFunc(24 * time.Hour), DiscoveryFunc: discover,
		IgnoredResourcesFunc: cfg.IgnoredResources, InformersStarted: b.started, Registry: generic.NewRegistry(cfg.Evaluators()), UpdateFilter: quotainstall.DefaultUpdateFilter(),
	})
	if err != nil {
		return err
	}
	b.add(func(ctx context.Context) { rq.Run(ctx, 5) })
	b.add(func(ctx context.Context) { rq.Sync(ctx, discover, discoverEvery) })
	return nil
}

func addVolumes(ctx context.Context, b *parts) error {
	core := b.f.Core().V1()
	binder, err := persistentvolume.NewController(ctx, persistentvolume.ControllerParameters{
		KubeClient: b.client("persistent-volume-binder"), SyncPeriod: 24 * time.Hour, VolumeInformer: core.PersistentVolumes(), ClaimInformer: core.PersistentVolumeClaims(),
		ClassInformer: b.f.Storage().V1().StorageClasses(), PodInformer: core.Pods(), NodeInformer: core.Nodes(), EnableDynamicProvisioning: true,
	})
	if err != nil {
		return err
	}
	b.add(binder.Run)
	eph, err := ephemeral.NewController(ctx, b.client("ephemeral-volume-controller"), core.Pods(), core.PersistentVolumeClaims())
	if err != nil {
		return err
	}
	b.add(func(ctx context.Context) { eph.Run(ctx, 1) })
	pvc, err := pvcprotection.NewPVCProtectionController(klog.FromContext(ctx), core.PersistentVolumeClaims(), core.Pods(), b.client("pvc-protection-controller"))
	if err != nil {
		return err
	}
	b.add(func(ctx context.Context) { pvc.Run(ctx, 1) })
	pv, err := pvprotection.NewPVProtectionController(klog.FromContext(ctx), core.PersistentVolumes(), b.client("pv-protection-controller"))
	if err != nil {
		return err
	}
	b.add(func(ctx context.Context) { pv.Run(ctx, 1) })
	return nil
}
