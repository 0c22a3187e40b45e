package rollout

// Reasons of Events and conditions that clients of Argo Rollouts read.
const (
	reasonUpdated      = "RolloutUpdated"
	reasonNewSet       = "NewReplicaSetCreated"
	reasonNotCompleted = "RolloutNotCompleted"
	reasonCompleted    = "RolloutCompleted"
	reasonScaling      = "ScalingReplicaSet"
	reasonStepDone     = "RolloutStepCompleted"
	reasonPaused       = "RolloutPaused"
	reasonResumed      = "RolloutResumed"
	reasonAborted      = "RolloutAborted"
	reasonRetry        = "RolloutRetry"
	reasonHealthy      = "RolloutHealthy"
	reasonAvailable    = "AvailableReason"
	reasonSetUpdated   = "ReplicaSetUpdated"
	reasonSetAvailable = "NewReplicaSetAvailable"
	reasonSetMissing   = "ReplicaSetNotAvailable"
	reasonTimedOut     = "ProgressDeadlineExceeded"
	reasonInvalid      = "InvalidSpec"
	reasonConflict     = "OtherController"
	reasonCreateError  = "ReplicaSetCreateError"
	reasonError        = "ReconciliationError"
	reasonPlugin       = "StepPluginTransition"
)

// Messages of conditions and Events.
const (
	messagePaused       = "Rollout is paused"
	messageResumed      = "Rollout is resumed"
	messageNotAvailable = "Rollout does not have minimum availability"
)

// Types of conditions that Fairway adds.
const (
	// ConditionConflict says that another controller acts on the Rollout, and that this one stands aside.
	ConditionConflict = "Conflict"
)
