package kubelet

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/kubernetes"

	corev1 "k8s.io/api/core/v1"
)

// How long the API server's answers are kept; the kubelet's own defaults.
const (
	identityTTL = 2 * time.Minute
	allowTTL    = 5 * time.Minute
	denyTTL     = 30 * time.Second
	askWithin   = 10 * time.Second
)

// Gate decides as a kubelet does (webhook mode): a client certificate or a bearer token says who calls, and the API
// server says whether he may, as a request for a subresource of the node.
type Gate struct {
	who authenticator.Request
	may authorizer.Authorizer
}

// NewGate asks the API server by c (create on tokenreviews and subjectaccessreviews). clientCA is the PEM bundle that
// client certificates are checked against.
func NewGate(c kubernetes.Interface, clientCA []byte) (*Gate, error) {
	ca, err := dynamiccertificates.NewStaticCAContent("client-ca", clientCA)
	if err != nil {
		return nil, fmt.Errorf("kubelet: the authority of client certificates: %w", err)
	}
	retry := options.DefaultAuthWebhookRetryBackoff()
	who, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                          &apiserverconfig.AnonymousAuthConfig{},
		ClientCertificateCAContentProvider: ca,
		TokenAccessReviewClient:            c.AuthenticationV1(), TokenAccessReviewTimeout: askWithin, CacheTTL: identityTTL, WebhookRetryBackoff: retry,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("kubelet: %w", err)
	}
	may, err := authorizerfactory.DelegatingAuthorizerConfig{SubjectAccessReviewClient: c.AuthorizationV1(), AllowCacheTTL: allowTTL, DenyCacheTTL: denyTTL,
		WebhookRetryBackoff: retry}.New()
	if err != nil {
		return nil, fmt.Errorf("kubelet: %w", err)
	}
	return &Gate{who: who, may: may}, nil
}

// subresources are those of a node that guard a path, by its prefix, the narrowest right first; a caller needs one of
// them. What is not here needs nodes/proxy.
var subresources = []struct {
	prefix string
	any    []string
}{
	{"/stats", []string{"stats"}},
	{"/metrics", []string{"metrics"}},
	{"/logs", []string{"log"}},
	{"/pods", []string{"pods", "proxy"}},
	{"/runningpods", []string{"pods", "proxy"}},
	{"/healthz", []string{"healthz", "proxy"}},
	{"/configz", []string{"configz", "proxy"}},
}

var verbs = map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}

// asked is what a request is, as the authoriser sees it: one of the attributes must be allowed.
func asked(who user.Info, r *http.Request, node string) (any []authorizer.Attributes, words string) {
	verb := verbs[r.Method]
	if verb == "" {
		verb = "get"
	}
	names := []string{"proxy"}
	for _, s := range subresources {
		if r.URL.Path == s.prefix || strings.HasPrefix(r.URL.Path, s.prefix+"/") {
			names = s.any
		}
	}
	for _, name := range names {
		any = append(any, authorizer.AttributesRecord{User: who, Verb: verb, APIVersion: "v1", Resource: "nodes", Subresource: name,
			Name: node, ResourceRequest: true, Path: r.URL.Path})
	}
	return any, fmt.Sprintf("user=%s, verb=%s, resource=nodes, subresource(s)=%v", who.GetName(), verb, names)
}

type outsideKey struct{}

// guard lets requests of this process pass and puts the others before the gate.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if outside, _ := r.Context().Value(outsideKey{}).(bool); !outside {
			next.ServeHTTP(w, r)
			return
		}
		g := s.opts.Gate
		if g == nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		who, ok, err := g.who.AuthenticateRequest(r)
		if err != nil || !ok {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		s.onNode(func(w http.ResponseWriter, r *http.Request, node *corev1.Node) {
			any, words := asked(who.User, r, node.Name)
			for _, a := range any {
				decision, _, err := g.may.Authorize(r.Context(), a)
				if err != nil {
					http.Error(w, fmt.Sprintf("Authorization error (%s)", words), http.StatusInternalServerError)
					return
				}
				if decision == authorizer.DecisionAllow {
					next.ServeHTTP(w, r)
					return
				}
			}
			http.Error(w, fmt.Sprintf("Forbidden (%s)", words), http.StatusForbidden)
		})(w, r)
	})
}

// outside is a connection by a real socket to the node with the address at.
type outside struct {
	net.Conn
	at netip.AddrPort
}

func (o outside) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(o.at) }

func isOutside(c net.Conn) bool {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_, yes := c.(outside)
	return yes
}

// ServeOutside answers a connection that came by a real socket for the node with the address at, and owns it.
func (s *Server) ServeOutside(c net.Conn, at netip.AddrPort) { s.Serve(outside{c, at}) }

// Listen opens a real socket at real for the node with the address at, until ctx ends.
func (s *Server) Listen(ctx context.Context, real, at netip.AddrPort) error {
	l, err := net.Listen("tcp4", real.String())
	if err != nil {
		return fmt.Errorf("--node-listen: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	s.accepting.Go(func() {
		defer stop()
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			s.accepting.Go(func() { s.ServeOutside(c, at) })
		}
	})
	return nil
}

// withClientCertificates lets clients show a certificate, which the gate checks.
func withClientCertificates(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.ClientAuth = tls.RequestClientCert
	return c
}
