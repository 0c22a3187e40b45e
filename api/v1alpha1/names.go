package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The names every room of Fairway uses. Change one here and it changes everywhere.
const (
	Group   = "fairway.dev"
	Version = "v1alpha1"
	// Prefix starts every annotation, label, taint and finalizer key of Fairway.
	Prefix = Group + "/"
	// MetricsPrefix starts the name of every metric Fairway exports.
	MetricsPrefix = "fairway_"
	// CLI is the name of the program.
	CLI = "fairway"
)

// Labels and annotations of nodes and objects.
const (
	// LabelVirtual is "true" on every node Fairway plays without a machine behind it.
	LabelVirtual = Prefix + "virtual"
	// LabelNodeGroup names the pool or node group a node belongs to.
	LabelNodeGroup = Prefix + "node-group"
	// LabelCapacityType says on-demand, spot or reserved. The key is Karpenter's, which other tools already read.
	LabelCapacityType = "karpenter.sh/capacity-type"
	// ProvisionerVirtual is the volume provisioner of virtual disks.
	ProvisionerVirtual = Prefix + "virtual"
)

// Pod annotations that change how a virtual pod behaves. Each may carry the suffix ".CONTAINER" to mean one container
// only, and takes effect on running pods. No annotation can name a command of the host.
const (
	// SimPrefix starts every annotation of this group; an unknown key under it is answered with a Warning event.
	SimPrefix = Prefix + "sim-"

	SimStartup  = SimPrefix + "startup"  // "3s": process start to first good probe
	SimLatency  = SimPrefix + "latency"  // "p50=20ms,p99=200ms"
	SimErrors   = SimPrefix + "errors"   // "1%"
	SimCapacity = SimPrefix + "capacity" // "50rps": the CPU a request that saturates one pod there
	SimDuration = SimPrefix + "duration" // "90s": run to completion
	SimExit     = SimPrefix + "exit"     // "137", "1@30s", "0:90%,1:10%"
	SimCrash    = SimPrefix + "crash"    // "every=10m"
	SimCPU      = SimPrefix + "cpu"      // "6ms" a request, or "250m" constant
	SimMemory   = SimPrefix + "memory"   // "300Mi", or "base=200Mi,perRequest=100Ki,leak=10Mi/h"
	SimStop     = SimPrefix + "stop"     // "5s", or "ignore"
	SimPull     = SimPrefix + "pull"     // "20s", or "error"
	SimReady    = SimPrefix + "ready"    // "false@10m"
	SimResize   = SimPrefix + "resize"   // "delay=5s", or "error"
	SimProgram  = SimPrefix + "program"  // name of a Program with allowAnnotation
)

// Users and field managers Fairway writes as.
const (
	// FieldManagerSetup owns the objects a scenario puts into the cluster before the run starts.
	FieldManagerSetup = "rehearse-setup"
	// UserRehearse is the user behind every step of a scenario.
	UserRehearse = "rehearse"
)

// KindScenario is the kind of a scenario file.
const KindScenario = "Scenario"

var (
	// GroupVersion is fairway.dev/v1alpha1.
	GroupVersion = schema.GroupVersion{Group: Group, Version: Version}
	// SchemeBuilder collects the kinds that live in an API server.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	// AddToScheme makes the kinds of this package known to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &Program{}, &ProgramList{}, &BackendPolicy{}, &BackendPolicyList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
