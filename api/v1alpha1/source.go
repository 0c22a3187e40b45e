package v1alpha1

import "embed"

// SourceFiles are the Go files of this package. The schema of scenarios and the reference of the documentation take
// their descriptions from the comments in them, so that there is one text for each field.
//
//go:embed action.go call.go duration.go expect.go load.go match.go prices.go program.go quantiles.go rate.go scenario.go scenario_service.go service.go step.go
var SourceFiles embed.FS
