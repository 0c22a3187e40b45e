// Package v1alpha1 holds the kinds Fairway itself defines and the names everything of Fairway shares: the Scenario a
// team writes to rehearse a change, the ServiceModel that says how a service behaves under load, the Program that
// says what a virtual container does, and the BackendPolicy that says how the gateway treats the endpoints of a Service.
//
// Every type here is plain data. Its JSON form is lossless, so that a scenario read once can be handed to another
// process; its YAML form is read strictly, with positions, by internal/rehearse/scenario.
//
// +kubebuilder:object:generate=true
// +groupName=fairway.dev
package v1alpha1
