package gateway

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// gatewayOf a name, so many seconds old, with what it asks for and what it had.
func gatewayOf(name string, age int, asks, had string) *gw.Gateway {
	g := &gw.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0))}}
	if asks != "" {
		g.Spec.Addresses = []gw.GatewaySpecAddress{{Value: asks}}
	}
	if had != "" {
		g.Status.Addresses = []gw.GatewayStatusAddress{{Value: had}}
	}
	return g
}

func TestGatewaysGetTheirAddressesAndKeepThem(t *testing.T) {
	t.Parallel()
	pool := netip.MustParsePrefix("127.40.1.0/29") // six addresses; one is the entrance of Ingresses
	for name, c := range map[string]struct {
		gateways []*gw.Gateway
		want     string
		problem  string
	}{
		"the older comes first":                             {[]*gw.Gateway{gatewayOf("b", 1, "", ""), gatewayOf("a", 2, "", "")}, "a=127.40.1.1 b=127.40.1.2", ""},
		"who had one keeps it":                              {[]*gw.Gateway{gatewayOf("a", 2, "", ""), gatewayOf("b", 1, "", "127.40.1.1")}, "a=127.40.1.2 b=127.40.1.1", ""},
		"of two that had the same the older keeps it":       {[]*gw.Gateway{gatewayOf("a", 2, "", "127.40.1.3"), gatewayOf("b", 1, "", "127.40.1.3")}, "a=127.40.1.3 b=127.40.1.1", ""},
		"one that is asked for is given":                    {[]*gw.Gateway{gatewayOf("a", 2, "", ""), gatewayOf("b", 1, "127.40.1.1", "")}, "a=127.40.1.2 b=127.40.1.1", ""},
		"one that is asked for is taken from who had it":    {[]*gw.Gateway{gatewayOf("a", 2, "", "127.40.1.4"), gatewayOf("b", 1, "127.40.1.4", "")}, "a=127.40.1.1 b=127.40.1.4", ""},
		"one outside the pool is not":                       {[]*gw.Gateway{gatewayOf("a", 2, "192.0.2.1", "")}, "", "is not in 127.40.1.0/29"},
		"one that another has asked for is not":             {[]*gw.Gateway{gatewayOf("a", 2, "127.40.1.1", ""), gatewayOf("b", 1, "127.40.1.1", "")}, "a=127.40.1.1", "belongs to another Gateway"},
		"the entrance of Ingresses is not for Gateways":     {[]*gw.Gateway{gatewayOf("a", 2, "127.40.1.6", "")}, "", "belongs to another Gateway"},
		"when all are given away the youngest gets nothing": {[]*gw.Gateway{gatewayOf("a", 7, "", ""), gatewayOf("b", 6, "", ""), gatewayOf("c", 5, "", ""), gatewayOf("d", 4, "", ""), gatewayOf("e", 3, "", ""), gatewayOf("f", 2, "", "")}, "a=127.40.1.1 b=127.40.1.2 c=127.40.1.3 d=127.40.1.4 e=127.40.1.5", "given away"},
	} {
		given, problems := assign(c.gateways, pool)
		var got []string
		for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
			for _, a := range given[config.Name{Namespace: "shop", Name: n}] {
				got = append(got, n+"="+a.String())
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
		all := ""
		for _, p := range problems {
			all += p
		}
		if (c.problem == "") != (all == "") || !strings.Contains(all, c.problem) {
			t.Errorf("%s: problems %q, want %q", name, all, c.problem)
		}
	}
}
