package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BackendPolicy says how the gateway spreads requests over the endpoints of a Service and watches over them. Of two that
// name the same Service the older counts, and the other is told so by its condition.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BackendPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BackendPolicySpec `json:"spec"`
	// +optional
	Status BackendPolicyStatus `json:"status,omitempty"`
}

// BackendPolicyList is a list of BackendPolicies.
//
// +kubebuilder:object:root=true
type BackendPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BackendPolicy `json:"items"`
}

// BackendPolicySpec is what a team writes; what it leaves out has the default named at each field.
type BackendPolicySpec struct {
	// TargetRefs are the backends in the same namespace it counts for.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	TargetRefs []PolicyTarget `json:"targetRefs"`
	// +optional
	LoadBalancing *LoadBalancing `json:"loadBalancing,omitempty"`
	// +optional
	CircuitBreaker *CircuitBreaker `json:"circuitBreaker,omitempty"`
	// OutlierDetection ejects endpoints that fail; absent = none is ejected.
	// +optional
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`
	// +optional
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
	// +optional
	Connection *Connection `json:"connection,omitempty"`
	// +optional
	Locality *Locality `json:"locality,omitempty"`
	// ScaleToZero holds requests while there is no endpoint; absent = they are answered 503.
	// +optional
	ScaleToZero *ScaleToZero `json:"scaleToZero,omitempty"`
}

// PolicyTarget names a backend.
type PolicyTarget struct {
	// Group of the kind; "" for a Service.
	// +optional
	Group string `json:"group,omitempty"`
	// +kubebuilder:default=Service
	// +optional
	Kind string `json:"kind,omitempty"`
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// LoadBalancing chooses an endpoint for each request.
type LoadBalancing struct {
	// Algorithm: P2C weighs two drawn endpoints by requests in flight and latency.
	//
	// +kubebuilder:validation:Enum=P2C;RoundRobin;LeastRequest;Random;ConsistentHash
	// +kubebuilder:default=P2C
	// +optional
	Algorithm string `json:"algorithm,omitempty"`
	// ConsistentHash says what requests are hashed by; needed with that algorithm.
	// +optional
	ConsistentHash *HashKey `json:"consistentHash,omitempty"`
	// SlowStart is how long the share of a new endpoint grows from 10 % to its whole. Default 0s.
	// +optional
	SlowStart *Duration `json:"slowStart,omitempty"`
}

// HashKey is what requests of one kind have in common; one field is set.
type HashKey struct {
	// +optional
	Header string `json:"header,omitempty"`
	// +optional
	Cookie string `json:"cookie,omitempty"`
	// +optional
	Query string `json:"query,omitempty"`
	// SourceIP is the client's address.
	// +optional
	SourceIP bool `json:"sourceIP,omitempty"`
}

// CircuitBreaker limits what a backend gets at once, all endpoints together. What is beyond is answered 503 at once.
type CircuitBreaker struct {
	// MaxConnections, default 1024; 0 = no limit.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxConnections *int32 `json:"maxConnections,omitempty"`
	// MaxPending requests that wait for a connection, default 1024; 0 = no limit.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxPending *int32 `json:"maxPending,omitempty"`
	// MaxRequests at once; default and 0 = no limit.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxRequests *int32 `json:"maxRequests,omitempty"`
}

// OutlierDetection ejects endpoints for a time.
type OutlierDetection struct {
	// Consecutive5xx answers that eject, default 5; 0 = not looked at.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Consecutive5xx *int32 `json:"consecutive5xx,omitempty"`
	// ConsecutiveGatewayErrors (no connection, no answer, 502, 503, 504) that eject, default 5; 0 = not looked at.
	// +kubebuilder:validation:Minimum=0
	// +optional
	ConsecutiveGatewayErrors *int32 `json:"consecutiveGatewayErrors,omitempty"`
	// Interval between looks, default 10s.
	// +optional
	Interval *Duration `json:"interval,omitempty"`
	// BaseEjection times how often an endpoint was ejected is how long it is, default 30s.
	// +optional
	BaseEjection *Duration `json:"baseEjection,omitempty"`
	// MaxEjection is the longest, default 300s.
	// +optional
	MaxEjection *Duration `json:"maxEjection,omitempty"`
	// MaxEjectedPercent of the endpoints at once, default 10, and always at least one.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	MaxEjectedPercent *int32 `json:"maxEjectedPercent,omitempty"`
	// PanicBelowPercent of healthy endpoints, ejections and probes are not looked at. Default 50.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	PanicBelowPercent *int32 `json:"panicBelowPercent,omitempty"`
}

// HealthCheck of endpoints.
type HealthCheck struct {
	// Active probes; absent = none.
	// +optional
	Active *ActiveHealthCheck `json:"active,omitempty"`
}

// ActiveHealthCheck asks each endpoint. One is healthy until its probes say otherwise; unhealthy ones get no requests as long
// as enough others are healthy (OutlierDetection's panicBelowPercent, or 50).
type ActiveHealthCheck struct {
	// Path to get, default "/".
	// +optional
	Path string `json:"path,omitempty"`
	// Interval between two probes of an endpoint, default 5s, at least 100ms.
	// +optional
	Interval *Duration `json:"interval,omitempty"`
	// Timeout, default 1s, or the interval if that is less.
	// +optional
	Timeout *Duration `json:"timeout,omitempty"`
	// Healthy answers in a row that make an endpoint good, default 2.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Healthy *int32 `json:"healthy,omitempty"`
	// Unhealthy answers in a row that make it bad, default 3.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Unhealthy *int32 `json:"unhealthy,omitempty"`
	// Expected status codes, "200" or "200-399". Default 200-399.
	// +kubebuilder:validation:Pattern=`^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$`
	// +optional
	Expected string `json:"expected,omitempty"`
	// GRPC asks the health service of gRPC instead; then there is no path and no expected status.
	// +optional
	GRPC *GRPCHealthCheck `json:"grpc,omitempty"`
}

// GRPCHealthCheck names the service to ask for; "" = the server as a whole.
type GRPCHealthCheck struct {
	// +optional
	Service string `json:"service,omitempty"`
}

// Connection to endpoints.
type Connection struct {
	// ConnectTimeout, default 2s.
	// +optional
	ConnectTimeout *Duration `json:"connectTimeout,omitempty"`
	// IdleTimeout closes an unused connection, default 60s. It should be less than the backend's own.
	// +optional
	IdleTimeout *Duration `json:"idleTimeout,omitempty"`
	// MaxIdlePerEndpoint, default 64.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxIdlePerEndpoint *int32 `json:"maxIdlePerEndpoint,omitempty"`
	// MaxRequestsPerConnection, default and 0 = no limit.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxRequestsPerConnection *int32 `json:"maxRequestsPerConnection,omitempty"`
	// HTTP2: auto asks for it within TLS and by appProtocol, always speaks nothing else, never does not.
	//
	// +kubebuilder:validation:Enum=auto;always;never
	// +kubebuilder:default=auto
	// +optional
	HTTP2 string `json:"http2,omitempty"`
	// KeepAlive between TCP probes, default 30s.
	// +optional
	KeepAlive *Duration `json:"keepAlive,omitempty"`
}

// Locality of endpoints.
type Locality struct {
	// Mode: PreferZone keeps requests in the gateway's zone as long as its endpoints can carry them.
	//
	// +kubebuilder:validation:Enum=PreferZone;Any
	// +kubebuilder:default=PreferZone
	// +optional
	Mode string `json:"mode,omitempty"`
	// Overprovision is how much more than its share a zone can carry: requests spill when healthy × this is below 100 %.
	// Default "1.4".
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	// +optional
	Overprovision string `json:"overprovision,omitempty"`
}

// ScaleToZero is how requests wait for the first endpoint.
type ScaleToZero struct {
	// Hold a request at most that long, default 30s; then it is answered 503.
	// +optional
	Hold *Duration `json:"hold,omitempty"`
	// MaxPending requests at once, default 1000.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxPending *int32 `json:"maxPending,omitempty"`
	// MaxBodyBytes of a held request, default 1048576.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxBodyBytes *int64 `json:"maxBodyBytes,omitempty"`
}

// BackendPolicyStatus tells whether it counts.
type BackendPolicyStatus struct {
	// Conditions: Accepted, with the reasons Accepted, Conflicted, Invalid and TargetNotFound.
	//
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
