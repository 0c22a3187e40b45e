package report

import _ "embed"

//go:embed rehearsal-report.v1.schema.json
var jsonSchema []byte

// JSONSchema is the JSON schema (draft 7) of the report's JSON form, made from the Go types and checked by a test.
// Within v1 only optional fields are added.
func JSONSchema() []byte { return jsonSchema }
