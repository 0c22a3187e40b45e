package provider

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/analysis/sigv4"
)

const (
	cloudWatchWindow  = 5 * time.Minute
	cloudWatchTimeout = 30 * time.Second
)

// cloudWatch asks Amazon CloudWatch for metric data by its query protocol. The result is a list of MetricDataResult.
//
// Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
type cloudWatch struct {
	clients
	aws *sigv4.Source
}

// MetricDataResult has the fields that conditions name, as in result[0].Values[0].
type MetricDataResult struct {
	Id         string      `xml:"Id"`
	Label      string      `xml:"Label"`
	StatusCode string      `xml:"StatusCode"`
	Timestamps []time.Time `xml:"Timestamps>member"`
	Values     []float64   `xml:"Values>member"`
}

func (p cloudWatch) Measure(ctx context.Context, r analysis.Request) (analysis.Reading, error) {
	c := r.Metric.Provider.CloudWatch
	window, err := duration(c.Interval, cloudWatchWindow)
	if err != nil {
		return analysis.Reading{}, fmt.Errorf("interval: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, cloudWatchTimeout)
	defer cancel()
	now := time.Now()
	form := cloudWatchForm(c.MetricDataQueries, now.Add(-window), now)
	region := p.aws.Region()
	if region == "" {
		return analysis.Reading{}, fmt.Errorf("no AWS region: set AWS_REGION for the controller")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.aws.Endpoint("CLOUDWATCH", "monitoring", region)+"/", strings.NewReader(form.Encode()))
	if err != nil {
		return analysis.Reading{}, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if err := signRequest(request, p.aws, "", "", region, "monitoring"); err != nil {
		return analysis.Reading{}, err
	}
	status, body, err := ask(p.secure, request)
	if err != nil {
		return analysis.Reading{}, err
	}
	if status != http.StatusOK {
		return analysis.Reading{}, cloudWatchFault(status, body)
	}
	return cloudWatchReading(body)
}

func cloudWatchForm(queries []argo.CloudWatchMetricDataQuery, from, to time.Time) url.Values {
	form := url.Values{"Action": {"GetMetricData"}, "Version": {"2010-08-01"},
		"StartTime": {from.UTC().Format(time.RFC3339)}, "EndTime": {to.UTC().Format(time.RFC3339)}}
	for i, q := range queries {
		at := fmt.Sprintf("MetricDataQueries.member.%d.", i+1)
		set := func(name, value string) {
			if value != "" {
				form.Set(at+name, value)
			}
		}
		set("Id", q.Id)
		if q.Expression != nil {
			set("Expression", *q.Expression)
		}
		if q.Label != nil {
			set("Label", *q.Label)
		}
		if q.Period != nil {
			set("Period", q.Period.String())
		}
		if q.ReturnData != nil {
			set("ReturnData", strconv.FormatBool(*q.ReturnData))
		}
		if s := q.MetricStat; s != nil {
			set("MetricStat.Period", s.Period.String())
			set("MetricStat.Stat", s.Stat)
			set("MetricStat.Unit", s.Unit)
			set("MetricStat.Metric.MetricName", s.Metric.MetricName)
			if s.Metric.Namespace != nil {
				set("MetricStat.Metric.Namespace", *s.Metric.Namespace)
			}
			for j, d := range s.Metric.Dimensions {
				set(fmt.Sprintf("MetricStat.Metric.Dimensions.member.%d.Name", j+1), d.Name)
				set(fmt.Sprintf("MetricStat.Metric.Dimensions.member.%d.Value", j+1), d.Value)
			}
		}
	}
	return form
}

func cloudWatchFault(status int, body []byte) error {
	var fault struct {
		Error struct{ Code, Message string }
	}
	if xml.Unmarshal(body, &fault) == nil && fault.Error.Code != "" {
		return fmt.Errorf("CloudWatch answered %d %s: %s", status, fault.Error.Code, quote([]byte(fault.Error.Message)))
	}
	return fmt.Errorf("CloudWatch answered %d: %s", status, quote(body))
}

func cloudWatchReading(body []byte) (analysis.Reading, error) {
	var answer struct {
		Results  []MetricDataResult             `xml:"GetMetricDataResult>MetricDataResults>member"`
		Messages []struct{ Code, Value string } `xml:"GetMetricDataResult>Messages>member"`
	}
	if err := xml.Unmarshal(body, &answer); err != nil {
		return analysis.Reading{}, fmt.Errorf("the answer is not one of CloudWatch: %w", err)
	}
	values := [][]float64{}
	for _, r := range answer.Results {
		values = append(values, r.Values)
	}
	out := analysis.Reading{Result: answer.Results, Value: fmt.Sprintf("%v", values)}
	if len(answer.Messages) > 0 {
		texts := make([]string, len(answer.Messages))
		for i, m := range answer.Messages {
			texts[i] = m.Code + ": " + m.Value
		}
		out.Metadata = map[string]string{"messages": strings.Join(texts, "; ")}
	}
	return out, nil
}
