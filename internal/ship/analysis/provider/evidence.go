package provider

import (
	"context"
	"fmt"
	"math"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// Of comparisons that do not say.
const (
	evidenceSamples    = 100
	evidenceConfidence = 0.95
)

// evidence answers from what this process has seen itself. The result is a share of 0…1, seconds, requests a second, or a
// count. With compare the verdict is that of a test whether one revision is worse than another.
type evidence struct {
	Config
	source string
}

func (p evidence) Measure(ctx context.Context, r analysis.Request) (analysis.Reading, error) {
	if p.Evidence == nil {
		return analysis.Reading{}, fmt.Errorf("there is no evidence for %s in this process; use prometheus or another provider", p.source)
	}
	m, err := analysis.ReadEvidence(p.source, r.Metric.Provider.Plugin[p.source])
	if err != nil {
		return analysis.Reading{}, err
	}
	question, err := p.question(ctx, r, m)
	if err != nil {
		return analysis.Reading{}, err
	}
	answer, err := p.Evidence.Measure(ctx, question)
	if err != nil {
		return analysis.Reading{}, err
	}
	if m.Compare == nil {
		return analysis.Reading{Result: answer.Value, Value: formatValue(answer.Value), Message: answer.Message}, nil
	}
	return judge(m.Compare, m.Metric, answer), nil
}

func (p evidence) question(ctx context.Context, r analysis.Request, m *analysis.EvidenceMetric) (analysis.Question, error) {
	window, err := m.Span()
	if err != nil {
		return analysis.Question{}, fmt.Errorf("plugin[%s]: %w", p.source, err)
	}
	var owner Revisions
	if p.Revisions != nil {
		if owner, err = p.Revisions(ctx, r.Run); err != nil {
			return analysis.Question{}, err
		}
	}
	q := analysis.Question{Source: p.source, Namespace: r.Run.Namespace, Rollout: owner.Rollout, Metric: m.Metric, Route: m.Route, Window: window}
	if q.Hash, err = owner.hash(m.Hash, string(argo.Latest)); err != nil {
		return q, err
	}
	if m.Compare != nil {
		q.MaxDelta, q.MaxRatio = m.Compare.MaxDelta, m.Compare.MaxRatio
		q.Against, err = owner.hash(m.Compare.Against, string(argo.Stable))
	}
	return q, err
}

func (o Revisions) hash(which, unset string) (string, error) {
	if which == "" {
		which = unset
	}
	hash := which
	switch which {
	case string(argo.Latest):
		hash = o.Latest
	case string(argo.Stable):
		hash = o.Stable
	}
	if hash == "" {
		return "", fmt.Errorf("the %s revision is not known: the run does not belong to a Rollout that has one; give the pod-template hash", which)
	}
	return hash, nil
}

// judge tests by one-sided two-proportion z-test whether the share of bad requests is larger than that of the other
// revision by more than the margin. Of latencies the margin is in the bound already that made a request a bad one.
func judge(c *analysis.Comparison, metric string, a analysis.Answer) analysis.Reading {
	samples, confidence := uint64(evidenceSamples), evidenceConfidence
	if c.MinSamples != nil {
		samples = *c.MinSamples
	}
	if c.Confidence != nil {
		confidence = *c.Confidence
	}
	out := analysis.Reading{Result: a.Value, Value: formatValue(a.Value), Phase: argo.AnalysisPhaseSuccessful}
	values := fmt.Sprintf("%s %.4g of %d requests against %.4g of %d", metric, a.Value, a.Count, a.AgainstValue, a.AgainstCount)
	if a.Count < samples || a.AgainstCount < samples || a.Count == 0 || a.AgainstCount == 0 {
		out.Phase, out.Message = argo.AnalysisPhaseInconclusive, fmt.Sprintf("%s: fewer than the %d samples that are needed", values, max(samples, 1))
		return out
	}
	delta, ratio := c.MaxDelta, c.MaxRatio
	if strings.HasPrefix(metric, "latency-") {
		delta, ratio = 0, 0
	}
	p := worseByChance(a, delta, ratio)
	out.Message = fmt.Sprintf("%s: p = %.4f", values, p)
	if p < 1-confidence {
		out.Phase = argo.AnalysisPhaseFailed
	}
	return out
}

// worseByChance is the probability that a difference this large or larger is seen although the true one is within the
// margin: p of the one-sided two-proportion z-test, with the pooled variance where the margin is none.
func worseByChance(a analysis.Answer, delta, ratio float64) float64 {
	n, m := float64(a.Count), float64(a.AgainstCount)
	p, q := float64(a.Bad)/n, float64(a.AgainstBad)/m
	if ratio == 0 {
		ratio = 1
	}
	difference := p - ratio*q - delta
	variance := p*(1-p)/n + ratio*ratio*q*(1-q)/m
	if delta == 0 && ratio == 1 {
		pooled := (float64(a.Bad) + float64(a.AgainstBad)) / (n + m)
		variance = pooled * (1 - pooled) * (1/n + 1/m)
	}
	switch {
	case variance > 0:
		return math.Erfc(difference/math.Sqrt(2*variance)) / 2
	case difference > 0: // all of the one, none of the other
		return 0
	case difference < 0:
		return 1
	}
	return 0.5
}
