package virtual

// watchfulState says whether the node-lifecycle controller runs with its default timings on our behalf.
type watchfulState struct {
	on bool
}

func (e *Engine) zoneOut(zone string) bool { return false }
