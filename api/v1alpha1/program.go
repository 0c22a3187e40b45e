package v1alpha1

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Program says what the containers it matches do on a virtual node: how long they run, how they exit, what they use.
// For a container the first matching Program counts, by falling priority, then by name.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:printcolumn:name="Run",type=string,JSONPath=`.spec.run`
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Program struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ProgramSpec `json:"spec"`
}

// ProgramList is a list of Programs.
//
// +kubebuilder:object:root=true
type ProgramList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Program `json:"items"`
}

// matchesNothing is a glob no image reference matches.
const matchesNothing = ""

// UnmarshalJSON reads a list, each Program on its own: a value that the schema lets through but no form allows, such as
// a share of "many", spoils that Program alone (Problem) and does not hide every good one from a watcher.
func (l *ProgramList) UnmarshalJSON(data []byte) error {
	var list struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
		Items           []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	*l = ProgramList{TypeMeta: list.TypeMeta, ListMeta: list.ListMeta, Items: make([]Program, len(list.Items))}
	for i, item := range list.Items {
		failure := json.Unmarshal(item, &l.Items[i])
		if failure == nil {
			continue
		}
		var bare struct {
			metav1.TypeMeta   `json:",inline"`
			metav1.ObjectMeta `json:"metadata"`
		}
		if err := json.Unmarshal(item, &bare); err != nil {
			return err
		}
		l.Items[i] = Program{TypeMeta: bare.TypeMeta, ObjectMeta: bare.ObjectMeta,
			Spec: ProgramSpec{Match: ProgramMatch{Images: []string{matchesNothing}}, Problem: failure.Error()}}
	}
	return nil
}

// ProgramSpec is the behaviour and whom it is for.
type ProgramSpec struct {
	// Match selects containers; all keys given must match. An empty match selects every container.
	Match ProgramMatch `json:"match,omitempty"`
	// Priority decides between several matching Programs: higher first, then by name. Default 0.
	Priority int32 `json:"priority,omitempty"`
	// Run is what the container does: builtin:NAME, sleep, shell, or local:PORT, a process the user runs on 127.0.0.1
	// to which every dial to the pod's ports goes (refused in rehearsal). Left out, what the image table or the
	// command says stays, and only the model below is added.
	// +kubebuilder:validation:Pattern=`^(sleep|shell|builtin:[a-z0-9-]+|local:[0-9]{1,5}|exec:.+)$`
	Run string `json:"run,omitempty"`
	// Model is how the container behaves under load, starts and stops.
	Model *ServiceModel `json:"model,omitempty"`
	// Duration after which the container exits by itself; default never.
	Duration *Duration `json:"duration,omitempty"`
	// ExitCode at the end of Duration; default 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	ExitCode *int32 `json:"exitCode,omitempty"`
	// Outcomes replace Duration and ExitCode by a draw for each start, by weight.
	Outcomes []Outcome `json:"outcomes,omitempty"`
	// OnTerm is the reaction to SIGTERM; default exit 0 after model.stop.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	OnTerm *OnTerm `json:"onTerm,omitempty"`
	// Ports listened on beyond those the container declares.
	Ports []ProgramPort `json:"ports,omitempty"`
	// Health of the process over its life, as its probes see it.
	Health *ProgramHealth `json:"health,omitempty"`
	// Logs are the first lines of the container's log.
	Logs []LogLine `json:"logs,omitempty"`
	// Image describes the pull.
	Image *ProgramImage `json:"image,omitempty"`
	// AllowAnnotation lets a pod choose this Program by the annotation fairway.dev/sim-program. Default false.
	AllowAnnotation bool `json:"allowAnnotation,omitempty"`

	// Problem says why the spec could not be read; set by reading a list. Such a Program matches nothing.
	Problem string `json:"-"`
}

// ProgramMatch selects containers. Globs know * and ?, and match the whole text.
type ProgramMatch struct {
	// Images are globs over the image reference, with and without its registry.
	Images []string `json:"images,omitempty"`
	// Containers are globs over the container name.
	Containers []string `json:"containers,omitempty"`
	// Namespaces are globs over the namespace.
	Namespaces []string `json:"namespaces,omitempty"`
	// PodSelector selects pods by label.
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// Command are globs over the argument vector joined by spaces.
	Command []string `json:"command,omitempty"`
}

// Outcome is one way for a container to end.
type Outcome struct {
	// Weight among the outcomes; default 1.
	Weight *float64 `json:"weight,omitempty"`
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	ExitCode int32 `json:"exitCode,omitempty"`
	// After this time; default the Program's duration.
	After *Duration `json:"after,omitempty"`
	// Message is the termination message.
	Message string `json:"message,omitempty"`
}

// OnTerm is the reaction to SIGTERM: the word ignore, or {after, exitCode}.
type OnTerm struct {
	// Ignore SIGTERM: only SIGKILL at the end of the grace period ends the container.
	Ignore bool `json:"ignore,omitempty"`
	// After this time the container exits; default model.stop.
	After *Duration `json:"after,omitempty"`
	// ExitCode of that exit; default 0.
	ExitCode int32 `json:"exitCode,omitempty"`
	// Refuse new connections from SIGTERM on, as a server does that closes its listener at once; default false.
	Refuse bool `json:"refuse,omitempty"`
}

// UnmarshalText reads the word ignore.
func (t *OnTerm) UnmarshalText(text []byte) error {
	if string(text) != "ignore" {
		return fmt.Errorf("onTerm %q is not known; write ignore, or {after: 5s, exitCode: 0}", text)
	}
	*t = OnTerm{Ignore: true}
	return nil
}

// UnmarshalJSON reads the word ignore or the object form.
func (t *OnTerm) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, t.UnmarshalText)
	}
	type plain OnTerm
	return json.Unmarshal(data, (*plain)(t))
}

// ProgramPort is a listener.
type ProgramPort struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// Protocol spoken there; default tcp.
	// +kubebuilder:validation:Enum=http;h2c;grpc;tcp;udp;tls
	Protocol string `json:"protocol,omitempty"`
}

// ProgramHealth is health as a function of time since the process started.
type ProgramHealth struct {
	// HealthyAfter the start; default model.ready.
	HealthyAfter *Duration `json:"healthyAfter,omitempty"`
	// UnhealthyAfter the start; default never.
	UnhealthyAfter *Duration `json:"unhealthyAfter,omitempty"`
	// Flap makes the process unhealthy again and again.
	Flap *Flap `json:"flap,omitempty"`
}

// Flap is unhealthy for a while in every period.
type Flap struct {
	Every Duration `json:"every"`
	For   Duration `json:"for"`
}

// LogLine is one line of log.
type LogLine struct {
	// At this time after the start; default 0.
	At   Duration `json:"at,omitzero"`
	Line string   `json:"line"`
	// Stream is stdout (default) or stderr.
	// +kubebuilder:validation:Enum=stdout;stderr
	Stream string `json:"stream,omitempty"`
}

// ProgramImage describes the image of the matched containers.
type ProgramImage struct {
	// Size to pull; default the size whose pull takes the drawn time.
	Size *resource.Quantity `json:"size,omitempty"`
	// LayersSharedWith is an image whose layers are not pulled again where it is present.
	LayersSharedWith string `json:"layersSharedWith,omitempty"`
	// PullError makes every pull fail with this message.
	PullError string `json:"pullError,omitempty"`
	// Slow multiplies the time of a pull; default 1.
	Slow *float64 `json:"slow,omitempty"`
}
