package compile

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// BenchmarkRouteChangeAt10000 is the target of ≤ 60 ms from a changed route to a Config and its Index: each route on a host
// name of its own, and all of them on one.
func BenchmarkRouteChangeAt10000(b *testing.B) {
	for name, host := range map[string]string{"hosts": "h%d.example.com", "one-host": "one.example.com"} {
		b.Run(name, func(b *testing.B) {
			const routes = 10_000
			text := httpRoute("r", "  hostnames: ["+replace(host, "%d", "0")+"]\n  rules: [{matches: [{path: {value: /a}}], backendRefs: [{name: web, port: 80, weight: 9}, {name: canary, port: 80}]}]")
			in := load(&testing.T{}, plainGateway, text)
			one := in.HTTPRoutes[0]
			for i := range routes {
				r := one.DeepCopy()
				r.Name, r.UID = fmt.Sprint("r", i), types.UID(fmt.Sprint("u", i))
				r.Spec.Hostnames[0] = gw.Hostname(replace(host, "%d", fmt.Sprint(i)))
				path := fmt.Sprintf("/a/%d", i)
				r.Spec.Rules[0].Matches[0].Path.Value = &path
				in.HTTPRoutes = append(in.HTTPRoutes, r)
			}
			out := Compile(in)
			x := match.NewIndex(out.Config)
			b.ReportAllocs()
			for b.Loop() {
				i := 5000
				r := in.HTTPRoutes[i].DeepCopy()
				r.Generation++
				in.HTTPRoutes[i] = r
				in.Previous = &out
				out = Compile(in)
				x = x.Next(out.Config)
			}
			if out.Compiled != 1 {
				b.Errorf("%d routes were translated for one change", out.Compiled)
			}
		})
	}
}
