package compile

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// expressionMax is the longest regular expression that is compiled: RE2 runs in linear time, but its programs grow with it.
const expressionMax = 1024

// compiled is what an object came to. It never changes: the next Compile uses it again or makes another.
type compiled struct {
	key        routeKey
	uid        string
	version    string
	generation int64
	source     *route // of the Gateway API; nil for others

	hostnames []string
	rules     []*config.Rule
	matches   []ranked

	accepted verdict
	resolved verdict
	partial  string
	warnings []Event

	targets  map[targetKey]*target
	grants   map[string]string
	backends []*config.Backend
}

// ranked is a match with its place in the order of precedence.
type ranked struct {
	match config.Match
	rank  rank
}

// rank of a match, first what weighs most: the path Exact, then RegularExpression, then the longest prefix; a method; the
// number of headers, of query parameters, of cookies.
type rank struct {
	class, length, method, headers, query, cookies int
}

func rankOf(m *config.Match) rank {
	r := rank{headers: len(m.Headers), query: len(m.Query), cookies: len(m.Cookies)}
	if m.Method != "" {
		r.method = 1
	}
	switch m.Path.Kind {
	case config.PathExact:
	case config.PathRegexp:
		r.class = 1
	default:
		r.class, r.length = 2, len(m.Path.Value)
	}
	return r
}

// before orders ranks: negative if r is tried before s.
func (r rank) before(s rank) int {
	return cmp.Or(cmp.Compare(r.class, s.class), cmp.Compare(s.length, r.length), cmp.Compare(s.method, r.method),
		cmp.Compare(s.headers, r.headers), cmp.Compare(s.query, r.query), cmp.Compare(s.cookies, r.cookies))
}

// translator makes one compiled.
type translator struct {
	c    *compilation
	k    *compiled
	id   *identity
	kind string
	ns   string
	// bad are the rules that cannot be carried out, by their place.
	bad   []int
	badBy verdict
}

// specVersion differs when the spec does: a status that is written does not make an object be translated again.
func specVersion(o metav1.Object) string {
	if o.GetGeneration() > 0 {
		return string(o.GetUID()) + "/" + strconv.FormatInt(o.GetGeneration(), 10)
	}
	return versionOf(o)
}

// translated is the last translation of a route if all it came from is the same, or a new one.
func (c *compilation) translated(last *compiled, key routeKey, version string, id *identity, source *route) *compiled {
	if id != nil {
		version += "/" + id.version()
	}
	return c.make(last, key, version, source.meta, func(t *translator) {
		t.k.source, t.id = source, id
		for _, h := range source.hostnames {
			t.k.hostnames = append(t.k.hostnames, strings.ToLower(string(h)))
		}
		source.translate(t)
	})
}

// make a translation, or take the last one if all it came from is the same.
func (c *compilation) make(last *compiled, key routeKey, version string, o metav1.Object, translate func(*translator)) *compiled {
	if last != nil && last.version == version && c.unchanged(last) {
		c.keep(last)
		c.out.Reused++
		return last
	}
	c.out.Compiled++
	k := newCompiled(key, string(o.GetUID()), version, o.GetGeneration())
	t := &translator{c: c, k: k, kind: key.kind, ns: o.GetNamespace()}
	translate(t)
	t.conclude()
	c.keep(k)
	return k
}

func newCompiled(key routeKey, uid, version string, generation int64) *compiled {
	return &compiled{key: key, uid: uid, version: version, generation: generation, targets: map[targetKey]*target{}, grants: map[string]string{}}
}

// unchanged tells whether all that a translation referred to is as it was.
func (c *compilation) unchanged(k *compiled) bool {
	for key, was := range k.targets {
		if c.target(key) != was {
			return false
		}
	}
	for ns, was := range k.grants {
		if c.grants.version(ns) != was {
			return false
		}
	}
	return true
}

// keep what a translation uses.
func (c *compilation) keep(k *compiled) {
	for _, b := range k.backends {
		c.next.backends[b.Key] = b
	}
	for key := range k.targets {
		if key.kind == kindService {
			c.servicesN.add(key.name)
		}
	}
	c.out.Events = append(c.out.Events, k.warnings...)
}

// rule begins a rule; its place is what it is called if it has no name.
func (t *translator) rule(place int, name *gw.SectionName) *config.Rule {
	called := strconv.Itoa(place)
	if name != nil && *name != "" {
		called = string(*name)
	}
	return t.ruleNamed(called)
}

func (t *translator) ruleNamed(called string) *config.Rule {
	r := &config.Rule{Index: -1, Key: config.RuleKey{Kind: t.k.key.kind, Name: t.k.key.name, Rule: called, Gateway: t.k.key.gateway},
		Timeouts: config.Timeouts{Request: config.RequestTimeout}}
	t.k.rules = append(t.k.rules, r)
	return r
}

// break_ a rule: its requests are answered 500, and its route is told why.
func (t *translator) breakRule(place int, r *config.Rule, reason gw.RouteConditionReason, format string, args ...any) {
	why := fmt.Sprintf("spec.rules[%d].%s", place, fmt.Sprintf(format, args...))
	t.badBy.blame(string(reason), why)
	if r.Broken == "" {
		r.Broken = why
		t.bad = append(t.bad, place)
	}
}

// conclude says whether the route as a whole is valid.
func (t *translator) conclude() {
	if len(t.bad) == 0 {
		return
	}
	if len(t.bad) == len(t.k.rules) {
		t.k.accepted = t.badBy
		return
	}
	places := make([]string, len(t.bad))
	for i, place := range t.bad {
		places[i] = strconv.Itoa(place)
	}
	t.k.partial = fmt.Sprintf("Dropped Rule %s: %s; requests that match are answered 500 until it is mended", strings.Join(places, ", "), t.badBy.message)
}

// match adds a match of a rule.
func (t *translator) match(m config.Match) { t.matchRanked(m, rankOf(&m)) }

func (t *translator) matchRanked(m config.Match, r rank) {
	t.k.matches = append(t.k.matches, ranked{m, r})
}

// expression compiles a regular expression that has to fit the whole text.
func expression(text string) (*regexp.Regexp, error) {
	if len(text) > expressionMax {
		return nil, fmt.Errorf("the regular expression has %d characters; at most %d are allowed", len(text), expressionMax)
	}
	return regexp.Compile("^(?:" + text + ")$")
}

// span is a Duration as GEP-2257 writes it.
var span = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

func duration(d gw.Duration) (time.Duration, error) {
	if !span.MatchString(string(d)) {
		return 0, fmt.Errorf("%q is not a duration; write for example 10s or 1m30s", d)
	}
	return time.ParseDuration(string(d))
}

// hosted is a translation under a host name of a listener.
type hosted struct {
	*compiled
	// own is the host name that the route itself has.
	own string
}

// attach a translation to a listener, under what their host names have in common.
func (c *compilation) attach(l *listener, k *compiled) {
	names := k.hostnames
	if len(names) == 0 {
		names = []string{""}
	}
	if len(names) == 1 {
		if common, meet := intersect(l.hostname(), names[0]); meet {
			l.hosts[common] = append(l.hosts[common], &hosted{k, names[0]})
		}
		return
	}
	under := map[string]string{}
	for _, own := range names {
		common, meet := intersect(l.hostname(), own)
		if !meet {
			continue
		}
		if other, ok := under[common]; !ok || moreSpecific(own, other) < 0 {
			under[common] = own
		}
	}
	for _, common := range sortedKeys(under) {
		l.hosts[common] = append(l.hosts[common], &hosted{k, under[common]})
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
