package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-dev/fairway/internal/rehearse/expect"
)

type junitSuites struct {
	XMLName  xml.Name   `xml:"testsuites"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Suite    junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitFailure `xml:"failure"`
	Error   *junitFailure `xml:"error"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit renders the expectations as test cases of one suite; times are virtual seconds. What could not be evaluated is an
// error, a broken expectation a failure, a broken warning passes with its text as output.
func JUnit(r *Report) ([]byte, error) {
	s := junitSuite{Name: or(r.Scenario.Name, "rehearsal"), Time: fmt.Sprintf("%.3f", r.Scenario.Seconds)}
	for _, e := range r.Verdict.Expectations {
		c := junitCase{Name: printable(e.Name), Class: s.Name + "." + e.Kind, Time: fmt.Sprintf("%.3f", e.TotalSeconds), File: e.File, Line: e.Line}
		f := &junitFailure{Message: printable(fmt.Sprintf("%s, wanted %s", or(e.Value, "no data"), e.Limit)), Type: e.Kind, Text: printable(r.failureText(e))}
		switch {
		case e.Held:
		case e.Severity == expect.SeverityWarn:
			c.Output = f.Text
		case e.NoData:
			c.Error = f
			s.Errors++
		default:
			c.Failure = f
			s.Failures++
		}
		s.Cases = append(s.Cases, c)
	}
	if r.Verdict.Result == Incomplete || r.Verdict.Result == Invalid {
		s.Errors++
		s.Cases = append(s.Cases, junitCase{Name: "the rehearsal ran to its end", Class: s.Name, Time: "0.000", Error: &junitFailure{Message: printable(r.Verdict.Headline), Type: r.Verdict.Result, Text: printable(r.Verdict.Headline)}})
	}
	s.Tests = len(s.Cases)
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(junitSuites{Tests: s.Tests, Failures: s.Failures, Errors: s.Errors, Suite: s}); err != nil {
		return nil, fmt.Errorf("rendering JUnit XML: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// printable drops the characters XML 1.0 cannot carry.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\t' || c == '\n' || c >= 0x20 && c <= 0xD7FF || c >= 0xE000 && c <= 0xFFFD || c >= 0x10000 && c <= 0x10FFFF {
			return c
		}
		return -1
	}, s)
}

// The part of SARIF 2.1.0 that code scanning reads.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	Results     []sarifResult `json:"results"`
	Invocations []struct {
		ExecutionSuccessful bool `json:"executionSuccessful"`
	} `json:"invocations"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version,omitempty"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string    `json:"id"`
	ShortDescription sarifText `json:"shortDescription"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID       string            `json:"ruleId"`
	RuleIndex    int               `json:"ruleIndex"`
	Level        string            `json:"level"`
	Message      sarifText         `json:"message"`
	Locations    []sarifLocation   `json:"locations,omitempty"`
	Fingerprints map[string]string `json:"partialFingerprints"`
}

type sarifLocation struct {
	Physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region struct {
			StartLine int `json:"startLine"`
		} `json:"region"`
	} `json:"physicalLocation"`
}

// kindText describes the kinds of expectations as rules.
var kindText = map[string]string{
	expect.KindSLO: "Users are served well and fast enough", expect.KindReplicas: "Replicas stay within bounds",
	expect.KindPending: "Pods find a place in time", expect.KindCost: "The run costs no more than allowed",
	expect.KindDisruption: "Disruption budgets are kept", expect.KindRecovery: "Service recovers in time after a step",
	expect.KindNoWorse: "The change makes nothing worse", expect.KindCEL: "The scenario's own condition holds",
	expect.KindSteps: "Every required step is done", expect.KindEnd: "Workloads end as available as they began",
}

// SARIF renders failed expectations as results of SARIF 2.1.0, one rule a kind, located at the step that caused the
// failure or at the expectation itself.
func SARIF(r *Report) ([]byte, error) {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "fairway rehearse", Version: r.Provenance.Versions["fairway"], Rules: []sarifRule{}}
	for _, e := range r.Verdict.Expectations {
		if e.Held {
			continue
		}
		at := slices.IndexFunc(run.Tool.Driver.Rules, func(x sarifRule) bool { return x.ID == e.Kind })
		if at < 0 {
			at = len(run.Tool.Driver.Rules)
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: e.Kind, ShortDescription: sarifText{or(kindText[e.Kind], e.Kind)}})
		}
		result := sarifResult{RuleID: e.Kind, RuleIndex: at, Level: "error", Message: sarifText{r.failureText(e)}, Fingerprints: map[string]string{"expectation/v1": r.Scenario.Name + "/" + e.Name}}
		if e.Severity == expect.SeverityWarn {
			result.Level = "warning"
		}
		if file, line := r.place(e); file != "" {
			var l sarifLocation
			l.Physical.Artifact.URI = file
			l.Physical.Region.StartLine = max(1, line)
			result.Locations = []sarifLocation{l}
		}
		run.Results = append(run.Results, result)
	}
	run.Invocations = []struct {
		ExecutionSuccessful bool `json:"executionSuccessful"`
	}{{r.Verdict.Result == Pass || r.Verdict.Result == Fail}}
	b, err := json.MarshalIndent(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering SARIF: %w", err)
	}
	return append(b, '\n'), nil
}
