package v1alpha1

// Service applies a ServiceModel to the workloads it matches. Entries are read first to last; what comes later wins
// field by field.
type Service struct {
	// Match is NAMESPACE/NAME (globs allowed), KIND/NAMESPACE/NAME, or {selector: app=web, namespace: shop}.
	Match Match `json:"match"`
	// Image narrows the entry to the revisions whose image matches this glob: how a bad release is described.
	Image        string `json:"image,omitempty"`
	ServiceModel `json:",inline"`
	Source       Source `json:"source,omitzero" scenario:"internal"`
}
