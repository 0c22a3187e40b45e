// Package stub is a small Elastic Load Balancing API for tests: one load balancer, with a target group for the canary and one
// for the stable Service. Only tests import it.
package stub

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// What the stub knows.
const (
	LoadBalancerARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/k8s-shop/50dc6c495c0c9188"
	GroupARN        = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/" // and canary/1 or stable/2
	Hostname        = "k8s-shop-1234.eu-west-1.elb.amazonaws.com"

	resourceTag = "ingress.k8s.aws/resource"
)

// AWS answers as the examples on the pages of the API reference do
// (https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeRules.html and its neighbours).
type AWS struct {
	// Canary is the weight of the canary's target group, as text.
	Canary string
	// CanaryTag and StableTag are the resources that the two target groups belong to, NAMESPACE/INGRESS-SERVICE:PORT.
	CanaryTag, StableTag string
	// Targets are the addresses registered with every target group, at port 8080.
	Targets []string
	// Refuse is an action that is denied.
	Refuse string

	mu    sync.Mutex
	asked int
}

// Set changes what it answers.
func (a *AWS) Set(change func(*AWS)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

// Asked is how many requests there were.
func (a *AWS) Asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// Variables are those that Env has.
var Variables = []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2"}

// Env is the environment of a process that is to ask a server with an AWS as its handler.
func Env(url string) func(string) string {
	env := map[string]string{Variables[0]: "id", Variables[1]: "key", Variables[2]: url}
	return func(name string) string { return env[name] }
}

// ServeHTTP implements http.Handler.
func (a *AWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := r.ParseForm(); err != nil || r.Form.Get("Version") != "2015-12-01" ||
		!strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/elasticloadbalancing/aws4_request") {
		http.Error(w, "not a signed request of the query protocol", http.StatusBadRequest)
		return
	}
	a.asked++
	action := r.Form.Get("Action")
	if action == a.Refuse {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no such right</Message></Error></ErrorResponse>`)
		return
	}
	fmt.Fprintf(w, `<%[1]sResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><%[1]sResult>%[2]s</%[1]sResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></%[1]sResponse>`,
		action, a.result(action, r.Form))
}

func (a *AWS) result(action string, form url.Values) string {
	member := func(parts ...string) string {
		return "<member>" + strings.Join(parts, "</member><member>") + "</member>"
	}
	switch action {
	case "DescribeLoadBalancers":
		if form.Get("Marker") == "" {
			return `<LoadBalancers>` + member(`<LoadBalancerArn>arn:other</LoadBalancerArn><LoadBalancerName>other</LoadBalancerName><DNSName>other</DNSName>`) + `</LoadBalancers><NextMarker>page-2</NextMarker>`
		}
		return `<LoadBalancers>` + member(`<LoadBalancerArn>`+LoadBalancerARN+`</LoadBalancerArn><Scheme>internet-facing</Scheme><LoadBalancerName>k8s-shop</LoadBalancerName><DNSName>`+Hostname+`</DNSName>`) + `</LoadBalancers>`
	case "DescribeTargetGroups":
		return `<TargetGroups>` + member(`<TargetGroupArn>`+GroupARN+`canary/1</TargetGroupArn><TargetGroupName>canary</TargetGroupName><Port>80</Port>`,
			`<TargetGroupArn>`+GroupARN+`stable/2</TargetGroupArn><TargetGroupName>stable</TargetGroupName>`) + `</TargetGroups>`
	case "DescribeTags":
		tag := func(arn, value string) string {
			return `<ResourceArn>` + arn + `</ResourceArn><Tags><member><Value>` + value + `</Value><Key>` + resourceTag + `</Key></member></Tags>`
		}
		return `<TagDescriptions>` + member(tag(form.Get("ResourceArns.member.1"), a.CanaryTag), tag(form.Get("ResourceArns.member.2"), a.StableTag)) + `</TagDescriptions>`
	case "DescribeListeners":
		return `<Listeners>` + member(`<ListenerArn>arn:listener</ListenerArn>`) + `</Listeners>`
	case "DescribeRules":
		forward := func(arn, weight string) string {
			return `<TargetGroupArn>` + arn + `</TargetGroupArn><Weight>` + weight + `</Weight>`
		}
		return `<Rules>` + member(`<IsDefault>false</IsDefault><Actions><member><Type>forward</Type><ForwardConfig><TargetGroups>`+
			member(forward(GroupARN+"canary/1", a.Canary), forward(GroupARN+"stable/2", "0"))+`</TargetGroups></ForwardConfig></member></Actions>`,
			`<IsDefault>true</IsDefault><Actions><member><Type>fixed-response</Type></member></Actions>`) + `</Rules>`
	case "DescribeTargetHealth":
		var all []string
		for _, t := range a.Targets {
			all = append(all, `<HealthCheckPort>80</HealthCheckPort><TargetHealth><State>initial</State></TargetHealth><Target><Port>8080</Port><Id>`+t+`</Id></Target>`)
		}
		return `<TargetHealthDescriptions>` + member(all...) + `</TargetHealthDescriptions>`
	}
	return ""
}
