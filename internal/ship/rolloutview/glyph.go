package rolloutview

import (
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// Glyphs of kinds.
const (
	glyphRollout    = "⟳"
	glyphRevision   = "#"
	glyphReplicaSet = "⧉"
	glyphPod        = "□"
	glyphJob        = "⊞"
	glyphExperiment = "Σ"
	glyphRun        = "α"
)

// Glyphs of states.
const (
	glyphWaiting     = "◷"
	glyphProgressing = "◌"
	glyphWarning     = "⚠"
	glyphUnknown     = "?"
	glyphOK          = "✔"
	glyphBad         = "✖"
	glyphPaused      = "॥"
	glyphNeutral     = "•"
	glyphNone        = " "
)

// Colours are codes of ANSI terminals.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "94"
	plain  = "0"
)

// colours of glyphs, of tags and of the states of what is under way.
var colours = map[string]string{
	glyphWaiting: yellow, glyphProgressing: blue, glyphWarning: red, glyphUnknown: yellow, glyphOK: green, glyphBad: red,
	TagCanary: yellow, TagStable: green, TagActive: green, TagPreview: blue, TagPing: blue, TagPong: blue,
	string(argo.AnalysisPhasePending): blue, string(argo.AnalysisPhaseRunning): blue,
}

func rolloutGlyph(phase string) string {
	switch argo.RolloutPhase(phase) {
	case argo.RolloutPhaseProgressing:
		return glyphProgressing
	case argo.RolloutPhasePaused:
		return glyphPaused
	case argo.RolloutPhaseHealthy:
		return glyphOK
	case argo.RolloutPhaseDegraded:
		return glyphBad
	}
	return glyphNone
}

func replicaSetGlyph(status string) string {
	switch status {
	case "Progressing":
		return glyphProgressing
	case "Healthy":
		return glyphOK
	case "ReplicaFailure":
		return glyphBad
	case "ScaledDown":
		return glyphNeutral
	}
	return glyphNone
}

// analysisGlyph is for runs, jobs and experiments.
func analysisGlyph(phase string) string {
	switch argo.AnalysisPhase(phase) {
	case argo.AnalysisPhaseSuccessful:
		return glyphOK
	case argo.AnalysisPhaseInconclusive:
		return glyphUnknown
	case argo.AnalysisPhaseFailed:
		return glyphBad
	case argo.AnalysisPhaseError:
		return glyphWarning
	case argo.AnalysisPhaseRunning:
		return glyphProgressing
	case argo.AnalysisPhasePending:
		return glyphWaiting
	}
	return glyphNone
}

func podGlyph(status string) string {
	switch {
	case strings.HasPrefix(status, "Init:"):
		return glyphProgressing
	case strings.HasPrefix(status, "Signal:"), strings.HasPrefix(status, "ExitCode:"):
		return glyphBad
	case strings.HasSuffix(status, "Error"), strings.HasPrefix(status, "Err"):
		return glyphWarning
	}
	switch status {
	case "Pending", "Terminating", "ContainerCreating":
		return glyphProgressing
	case "Running", "Completed":
		return glyphOK
	case "Failed", "InvalidImageName", "CrashLoopBackOff":
		return glyphBad
	case "ImagePullBackOff", "RegistryUnavailable":
		return glyphWarning
	case "Unknown":
		return glyphUnknown
	}
	return glyphNone
}
