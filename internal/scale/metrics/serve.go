package metrics

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authpath "k8s.io/apiserver/pkg/authorization/path"
	authunion "k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/metrics/pkg/apis/metrics"
	"k8s.io/metrics/pkg/apis/metrics/install"
)

// Limits of the server.
const (
	requestTimeout  = 30 * time.Second
	requestsAtOnce  = 400
	shutdownTimeout = 2 * time.Second
	headerTimeout   = 10 * time.Second
	// reviewTTL is how long an answer of the API server about who somebody is or what he may is kept.
	reviewTTL = 10 * time.Second
)

// Server serves the resource metrics API as an aggregated API.
type Server struct {
	// Objects are pods and nodes, usually from a shared cache.
	Objects Objects
	// Sources of use; the first that knows a pod or node answers.
	Sources []Source
	// Client asks the API server who somebody is and what he may.
	Client kubernetes.Interface
	// TLS is the serving certificate.
	TLS *tls.Config
	// Listen opens the port when the server starts.
	Listen func() (net.Listener, error)
	// Ready reports why reads would mislead; nil = always ready.
	Ready func() error
	Log   *slog.Logger

	once    sync.Once
	serving chan struct{}
}

// Serving is closed once connections are accepted.
func (s *Server) Serving() <-chan struct{} {
	s.once.Do(func() { s.serving = make(chan struct{}) })
	return s.serving
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica serves.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	front, err := s.frontProxy(ctx)
	if err != nil {
		return err
	}
	handler, err := s.handler(front)
	if err != nil {
		return fmt.Errorf("metrics API: %w", err)
	}
	l, err := s.Listen()
	if err != nil {
		return fmt.Errorf("metrics API: %w", err)
	}
	s.Serving()
	close(s.serving)
	cfg := s.TLS.Clone()
	cfg.ClientAuth = tls.RequestClientCert // verified by the authenticator, against the front proxy's own CA
	cfg.NextProtos = []string{"h2", "http/1.1"}
	server := &http.Server{Handler: handler, TLSConfig: cfg, ReadHeaderTimeout: headerTimeout,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(end) != nil {
			server.Close()
		}
	})
	defer stop()
	if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics API: %w", err)
	}
	return nil
}

// front is what is known of the API server in front of this one.
type front struct {
	ca      *dynamiccertificates.ConfigMapCAController
	headers *headerrequest.RequestHeaderAuthRequestController
}

// authConfigMap is where an API server publishes how it forwards requests to aggregated APIs.
const authConfigMap = "extension-apiserver-authentication"

// frontProxy reads the API server's forwarding configuration and follows its changes until ctx ends.
func (s *Server) frontProxy(ctx context.Context) (*front, error) {
	ca, err := dynamiccertificates.NewDynamicCAFromConfigMapController("metrics-front-proxy", metav1.NamespaceSystem, authConfigMap, "requestheader-client-ca-file", s.Client)
	if err != nil {
		return nil, fmt.Errorf("metrics API: %w", err)
	}
	headers := headerrequest.NewRequestHeaderAuthRequestController(authConfigMap, metav1.NamespaceSystem, s.Client,
		"requestheader-username-headers", "requestheader-uid-headers", "requestheader-group-headers",
		"requestheader-extra-headers-prefix", "requestheader-allowed-names")
	if err := errors.Join(ca.RunOnce(ctx), headers.RunOnce(ctx)); err != nil {
		return nil, fmt.Errorf("metrics API: reading ConfigMap %s/%s: %w", metav1.NamespaceSystem, authConfigMap, err)
	}
	go ca.Run(ctx, 1)
	go headers.Run(ctx, 1)
	return &front{ca: ca, headers: headers}, nil
}

// handler is the API with its authentication and authorisation.
func (s *Server) handler(f *front) (http.Handler, error) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	codecs := serializer.NewCodecFactory(scheme)

	cfg := genericapiserver.NewConfig(codecs)
	cfg.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	cfg.ExternalAddress = "fairway-metrics:443"
	cfg.LoopbackClientConfig = &restclient.Config{} // nothing in here calls itself
	cfg.EnableIndex, cfg.EnableProfiling, cfg.EnableMetrics = false, false, false
	cfg.RequestTimeout, cfg.MaxRequestsInFlight = requestTimeout, requestsAtOnce
	cfg.OpenAPIV3Config, cfg.SkipOpenAPIInstallation = noSchemas(), true
	if s.Ready != nil {
		cfg.ReadyzChecks = append(cfg.ReadyzChecks, healthz.NamedCheck("metrics", func(*http.Request) error { return s.Ready() }))
	}
	if err := s.secure(cfg, f); err != nil {
		return nil, err
	}
	server, err := cfg.Complete(nil).New("fairway-metrics", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, err
	}
	group := genericapiserver.NewDefaultAPIGroupInfo(metrics.GroupName, scheme, metav1.ParameterCodec, codecs)
	st := &store{objects: s.Objects, sources: s.Sources}
	resources := map[string]rest.Storage{"pods": pods{st}, "nodes": nodes{st}}
	for _, version := range versions {
		group.VersionedResourcesStorageMap[version] = resources
	}
	if err := server.InstallAPIGroup(&group); err != nil {
		return nil, err
	}
	server.PrepareRun()
	return known(server.Handler), nil
}

// noSchemas satisfies the generic server, which wants schemas for server-side apply; nothing here can be written.
func noSchemas() *openapicommon.OpenAPIV3Config {
	return &openapicommon.OpenAPIV3Config{
		Info:           &spec.Info{},
		IgnorePrefixes: []string{genericapiserver.APIGroupPrefix},
		GetDefinitions: func(openapicommon.ReferenceCallback) map[string]openapicommon.OpenAPIDefinition { return nil },
	}
}

// versions of metrics.k8s.io that are served; one APIService each.
var versions = []string{"v1beta1", "v1"}

// secure delegates authentication and authorisation to the API server in front.
func (s *Server) secure(cfg *genericapiserver.Config, f *front) error {
	backoff := &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
	authn, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                &apiserverconfig.AnonymousAuthConfig{Enabled: true},
		TokenAccessReviewClient:  s.Client.AuthenticationV1(),
		TokenAccessReviewTimeout: headerTimeout,
		WebhookRetryBackoff:      backoff,
		CacheTTL:                 reviewTTL,
		RequestHeaderConfig: &authenticatorfactory.RequestHeaderConfig{
			CAContentProvider:   f.ca,
			UsernameHeaders:     headerrequest.StringSliceProviderFunc(f.headers.UsernameHeaders),
			UIDHeaders:          headerrequest.StringSliceProviderFunc(f.headers.UIDHeaders),
			GroupHeaders:        headerrequest.StringSliceProviderFunc(f.headers.GroupHeaders),
			ExtraHeaderPrefixes: headerrequest.StringSliceProviderFunc(f.headers.ExtraHeaderPrefixes),
			AllowedClientNames:  headerrequest.StringSliceProviderFunc(f.headers.AllowedClientNames),
		},
	}.New()
	if err != nil {
		return err
	}
	cfg.Authentication.Authenticator = authn
	paths, err := authpath.NewAuthorizer([]string{"/healthz", "/livez", "/readyz"})
	if err != nil {
		return err
	}
	delegated, err := authorizerfactory.DelegatingAuthorizerConfig{SubjectAccessReviewClient: s.Client.AuthorizationV1(),
		AllowCacheTTL: reviewTTL, DenyCacheTTL: reviewTTL, WebhookRetryBackoff: backoff}.New()
	if err != nil {
		return err
	}
	cfg.Authorization.Authorizer, err = authunion.New(
		authunion.NamedAuthorizer{AuthorizerName: "privileged", Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)},
		authunion.NamedAuthorizer{AuthorizerName: "paths", Authorizer: paths},
		authunion.NamedAuthorizer{AuthorizerName: "delegated", Authorizer: delegated})
	return err
}

// The OpenAPI documents of the API: none of its objects can be written, so nothing needs their schemas, and an API server
// in front that finds no document at all asks for one for ever.
const (
	openAPIv2 = `{"swagger":"2.0","info":{"title":"fairway-metrics","version":"v1"},"paths":{},"definitions":{}}`
	openAPIv3 = `{"paths":{}}`
)

// known answers at once for what the API itself does not: a generic API server that has not been told that its routes are
// complete answers "try again" to every other path.
func known(h http.Handler) http.Handler {
	document := func(w http.ResponseWriter, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Etag", `"fairway-metrics"`)
		_, _ = io.WriteString(w, text)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); {
		case r.URL.Path == "/openapi/v2":
			document(w, openAPIv2)
		case r.URL.Path == "/openapi/v3":
			document(w, openAPIv3)
		case first == "apis" || first == "healthz" || first == "livez" || first == "readyz" || first == "version":
			h.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}
