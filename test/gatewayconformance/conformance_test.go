package gatewayconformance

import (
	_ "embed"
	"flag"
	"os"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/flags"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

// The addresses of Gateways in the cluster under test: one of them is asked for by name, and one that is not among them.
const (
	pool            = "127.33.0.0/16"
	usableAddress   = "127.33.200.1"
	unusableAddress = "127.99.0.1"
)

var program = flag.String("fairway", "../../bin/fairway", "the program under test")

//go:embed skip.txt
var skipText string

func TestConformance(t *testing.T) {
	skipped, err := readSkips(skipText)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", start(t, *program))
	for name, value := range map[string]string{
		"gateway-class": "fairway", "usable-address": usableAddress, "unusable-address": unusableAddress,
	} {
		if !isSet(name) {
			if err := flag.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	o := conformance.DefaultOptions(t)
	flags.ApplyAll(&o.ConfigurableOptions)
	o.ConformanceProfiles = []suite.ConformanceProfileName{suite.GatewayHTTPConformanceProfileName, suite.GatewayGRPCConformanceProfileName, suite.GatewayTLSConformanceProfileName}
	o.Implementation = confv1.Implementation{Organization: "fairway-dev", Project: "fairway", URL: "https://github.com/fairway-dev/fairway",
		Version: "devel", Contact: []string{"https://github.com/fairway-dev/fairway/issues"}}
	if o.RunTest == "" {
		for _, s := range skipped {
			o.SkipTests = append(o.SkipTests, s.test)
		}
	}
	o.CleanupBaseResources = false // they go with the cluster
	awaitClass(t, o.Client, o.GatewayClassName)
	r := &results{ended: map[string]outcome{}}
	o.Hook = r.take
	s, err := suite.NewConformanceTestSuite(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.print(os.Stdout, s, skipped)
		writeReport(t, s, o.ReportOutputPath)
	})
	s.Setup(t, tests.ConformanceTests)
	if err := s.Run(t, tests.ConformanceTests); err != nil {
		t.Fatal(err)
	}
}

// awaitClass waits until the class says what it supports: the suite reads that at once.
func awaitClass(t *testing.T, c client.Client, name string) {
	t.Helper()
	class := &gw.GatewayClass{}
	deadline := time.Now().Add(startMax)
	for {
		err := c.Get(t.Context(), client.ObjectKey{Name: name}, class)
		if err == nil && len(class.Status.SupportedFeatures) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("GatewayClass %s says nothing of what it supports after %v: %v", name, startMax, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func isSet(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// TestSkipsNameTestsThatExist keeps the list in step with the suite's version.
func TestSkipsNameTestsThatExist(t *testing.T) {
	skipped, err := readSkips(skipText)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, test := range tests.ConformanceTests {
		known[test.ShortName] = true
	}
	for _, s := range skipped {
		if !known[s.test] {
			t.Errorf("skip.txt names %s, which is no test of this version of the suite", s.test)
		}
	}
}
