// Package elb asks AWS whether an Application Load Balancer follows what a Rollout wrote on its Ingress: whether its rules
// forward by the weights, and whether the addresses of a Service are registered. In: an Intent, Ingresses,
// TargetGroupBindings. Out: a verdict, Events, and status.albs, in the peer's words. It reads the Elastic Load Balancing API
// of 2015-12-01 with signed requests, in place of AWS's large SDK, and writes nothing.
package elb

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/ship/analysis/sigv4"
)

const (
	apiVersion = "2015-12-01"
	service    = "elasticloadbalancing" // in endpoints and in signatures
	endpointID = "ELASTIC_LOAD_BALANCING_V2"

	askWithin  = 10 * time.Second
	answerMax  = 8 << 20 // a page of 400 descriptions is well below 1 MB
	pageSize   = 400     // the most that AWS gives at once
	pagesMax   = 100     // 40,000 of a kind: beyond any quota of an account
	tagsAtOnce = 20      // resources of one DescribeTags
)

// Client of the Elastic Load Balancing API. Credentials are found where AWS's own tools find them. It needs the permissions
// elasticloadbalancing:DescribeLoadBalancers, DescribeTargetGroups, DescribeListeners, DescribeRules, DescribeTags and
// DescribeTargetHealth.
type Client struct {
	source *sigv4.Source
	do     func(*http.Request) (*http.Response, error)
}

// NewClient makes one. getenv reads the environment (nil = os.Getenv); do sends requests, to AWS and to where credentials are.
func NewClient(getenv func(string) string, do func(*http.Request) (*http.Response, error)) *Client {
	return &Client{source: &sigv4.Source{Getenv: getenv, Do: do}, do: do}
}

// LoadBalancer as DescribeLoadBalancers has it.
type LoadBalancer struct {
	ARN     string `xml:"LoadBalancerArn"`
	Name    string `xml:"LoadBalancerName"`
	DNSName string
}

// TargetGroup as DescribeTargetGroups has it, with its tags and the weight that a rule gives it.
type TargetGroup struct {
	ARN    string            `xml:"TargetGroupArn"`
	Name   string            `xml:"TargetGroupName"`
	Tags   map[string]string `xml:"-"`
	Weight *int32            `xml:"-"` // nil: no rule forwards to it
}

// Target is a registered address.
type Target struct {
	ID   string `xml:"Target>Id"`
	Port int32  `xml:"Target>Port"`
}

type answer struct {
	LoadBalancers []LoadBalancer `xml:"DescribeLoadBalancersResult>LoadBalancers>member"`
	TargetGroups  []TargetGroup  `xml:"DescribeTargetGroupsResult>TargetGroups>member"`
	Tags          []struct {
		ARN  string                        `xml:"ResourceArn"`
		Tags []struct{ Key, Value string } `xml:"Tags>member"`
	} `xml:"DescribeTagsResult>TagDescriptions>member"`
	Listeners []struct {
		ARN string `xml:"ListenerArn"`
	} `xml:"DescribeListenersResult>Listeners>member"`
	Rules []struct {
		Forward []struct {
			ARN    string `xml:"TargetGroupArn"`
			Weight *int32
		} `xml:"Actions>member>ForwardConfig>TargetGroups>member"`
	} `xml:"DescribeRulesResult>Rules>member"`
	Targets []Target `xml:"DescribeTargetHealthResult>TargetHealthDescriptions>member"`
	Marker  string   `xml:"-"`
}

// LoadBalancer finds one by its DNS name, as an Ingress's status has it; nil when there is none. The API cannot be asked for
// a name, so all of the region are looked through.
//
// Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html
func (c *Client) LoadBalancer(ctx context.Context, dnsName string) (*LoadBalancer, error) {
	region := c.region(regionOfName(dnsName))
	var found *LoadBalancer
	err := c.pages(ctx, region, url.Values{"Action": {"DescribeLoadBalancers"}}, func(a *answer) bool {
		for i := range a.LoadBalancers {
			if strings.EqualFold(a.LoadBalancers[i].DNSName, dnsName) {
				found = &a.LoadBalancers[i]
			}
		}
		return found == nil
	})
	return found, err
}

// TargetGroups of a load balancer, with their tags and weights.
//
// Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html,
// API_DescribeTags.html, API_DescribeListeners.html and API_DescribeRules.html there
func (c *Client) TargetGroups(ctx context.Context, loadBalancerARN string) ([]TargetGroup, error) {
	region := c.region(regionOfARN(loadBalancerARN))
	var groups []TargetGroup
	err := c.pages(ctx, region, url.Values{"Action": {"DescribeTargetGroups"}, "LoadBalancerArn": {loadBalancerARN}}, func(a *answer) bool {
		groups = append(groups, a.TargetGroups...)
		return true
	})
	if err != nil {
		return nil, err
	}
	by := map[string]*TargetGroup{}
	for i := range groups {
		groups[i].Tags = map[string]string{}
		by[groups[i].ARN] = &groups[i]
	}
	if err := c.tags(ctx, region, groups, by); err != nil {
		return nil, err
	}
	return groups, c.weights(ctx, region, loadBalancerARN, by)
}

func (c *Client) tags(ctx context.Context, region string, groups []TargetGroup, by map[string]*TargetGroup) error {
	for first := 0; first < len(groups); first += tagsAtOnce {
		form := url.Values{"Action": {"DescribeTags"}}
		for i, g := range groups[first:min(first+tagsAtOnce, len(groups))] {
			form.Set("ResourceArns.member."+strconv.Itoa(i+1), g.ARN)
		}
		a, err := c.ask(ctx, region, form)
		if err != nil {
			return err
		}
		for _, d := range a.Tags {
			if g := by[d.ARN]; g != nil {
				for _, tag := range d.Tags {
					g.Tags[tag.Key] = tag.Value
				}
			}
		}
	}
	return nil
}

// weights are those of forward actions. Where several rules forward to one group the last one counts, as with the peer.
func (c *Client) weights(ctx context.Context, region, loadBalancerARN string, by map[string]*TargetGroup) error {
	var listeners []string
	err := c.pages(ctx, region, url.Values{"Action": {"DescribeListeners"}, "LoadBalancerArn": {loadBalancerARN}}, func(a *answer) bool {
		for _, l := range a.Listeners {
			listeners = append(listeners, l.ARN)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, l := range listeners {
		err := c.pages(ctx, region, url.Values{"Action": {"DescribeRules"}, "ListenerArn": {l}}, func(a *answer) bool {
			for _, rule := range a.Rules {
				for _, to := range rule.Forward {
					if g := by[to.ARN]; g != nil {
						g.Weight = to.Weight
					}
				}
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Targets that are registered with a target group, whatever their health.
//
// Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
func (c *Client) Targets(ctx context.Context, targetGroupARN string) ([]Target, error) {
	a, err := c.ask(ctx, c.region(regionOfARN(targetGroupARN)), url.Values{"Action": {"DescribeTargetHealth"}, "TargetGroupArn": {targetGroupARN}})
	if err != nil {
		return nil, err
	}
	return a.Targets, nil
}

// pages asks until there are no more, or next wants none.
func (c *Client) pages(ctx context.Context, region string, form url.Values, next func(*answer) bool) error {
	form.Set("PageSize", strconv.Itoa(pageSize))
	for range pagesMax {
		a, err := c.ask(ctx, region, form)
		if err != nil {
			return err
		}
		if !next(a) || a.Marker == "" {
			return nil
		}
		form.Set("Marker", a.Marker)
	}
	return fmt.Errorf("%s: more than %d pages of answers", form.Get("Action"), pagesMax)
}

func (c *Client) ask(ctx context.Context, region string, form url.Values) (*answer, error) {
	action := form.Get("Action")
	if region == "" {
		return nil, fmt.Errorf("%s: no AWS region: set AWS_REGION for the controller", action)
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	form.Set("Version", apiVersion)
	body := form.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.source.Endpoint(endpointID, service, region)+"/", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	now := time.Now()
	credentials, err := c.source.Credentials(ctx, "", "", region, now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	sigv4.Sign(r, []byte(body), credentials, region, service, now)
	response, err := c.do(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerMax))
	if err != nil {
		return nil, fmt.Errorf("%s: reading the answer: %w", action, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %w", action, refusal(response, text))
	}
	return read(action, text)
}

// read an answer. The marker of the next page stands in the element of the action's result.
func read(action string, text []byte) (*answer, error) {
	var a answer
	var marker struct {
		Results []struct{ NextMarker string } `xml:",any"`
	}
	if err := xml.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("%s: the answer is not what the API is documented to give: %w", action, err)
	}
	if err := xml.Unmarshal(text, &marker); err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	for _, r := range marker.Results {
		if r.NextMarker != "" {
			a.Marker = r.NextMarker
		}
	}
	return &a, nil
}

// refusal is an error of the API in its own words.
//
// Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/CommonErrors.html
func refusal(r *http.Response, text []byte) error {
	var e struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	if err := xml.Unmarshal(text, &e); err != nil || e.Code == "" {
		return errors.New(r.Request.URL.Host + " answered " + r.Status)
	}
	return fmt.Errorf("%s: %s (%s)", e.Code, e.Message, r.Status)
}

// region of the environment, unless what is asked about is known to be in another one.
func (c *Client) region(of string) string {
	if of != "" {
		return of
	}
	return c.source.Region()
}

// regionOfARN is the fourth part of arn:aws:elasticloadbalancing:REGION:ACCOUNT:….
func regionOfARN(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 4 && parts[0] == "arn" {
		return parts[3]
	}
	return ""
}

// regionOfName is that of NAME-ID.REGION.elb.amazonaws.com, "" for other names.
func regionOfName(dnsName string) string {
	before, _, ok := strings.Cut(strings.ToLower(dnsName), ".elb.amazonaws.com")
	if !ok {
		return ""
	}
	if dot := strings.LastIndex(before, "."); dot >= 0 {
		return before[dot+1:]
	}
	return ""
}
