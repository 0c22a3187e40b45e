package model

import (
	"path"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// hint is one sign of a runtime.
type hint struct {
	runtime v1alpha1.Runtime
	images  *regexp.Regexp
	env     *regexp.Regexp
	command *regexp.Regexp
}

// hints in the order they are tried. Images are matched by their name without registry and tag.
var hints = []hint{
	{v1alpha1.RuntimeJVM, regexp.MustCompile(`java|jdk|jre|temurin|jvm|tomcat|jetty|spring|quarkus|kafka|cassandra|elasticsearch|zookeeper|keycloak|jenkins|neo4j`),
		regexp.MustCompile(`^(JAVA_.*|JVM_.*|JDK_JAVA_OPTIONS|_JAVA_OPTIONS|KAFKA_HEAP_OPTS|CATALINA_OPTS|SPRING_.*)$`), regexp.MustCompile(`^(java|catalina\.sh)$`)},
	{v1alpha1.RuntimeNode, regexp.MustCompile(`^node$|nodejs|-node$|express`), regexp.MustCompile(`^(NODE_ENV|NODE_OPTIONS|NPM_.*)$`), regexp.MustCompile(`^(node|npm|yarn|nodemon)$`)},
	{v1alpha1.RuntimePython, regexp.MustCompile(`python|django|flask|fastapi|gunicorn|uvicorn|celery|airflow`),
		regexp.MustCompile(`^(PYTHON.*|GUNICORN_.*|UVICORN_.*|WEB_CONCURRENCY|DJANGO_.*|FLASK_.*)$`), regexp.MustCompile(`^(python[0-9.]*|gunicorn|uvicorn|celery|flask)$`)},
	{v1alpha1.RuntimeGo, regexp.MustCompile(`^golang$|-go$|^go-|coredns|traefik|prometheus|etcd|caddy|minio|consul|vault`), regexp.MustCompile(`^(GOMAXPROCS|GOMEMLIMIT|GOGC|GODEBUG)$`), regexp.MustCompile(`^go$`)},
	{v1alpha1.RuntimeNative, regexp.MustCompile(`redis|valkey|memcached|nginx|envoy|haproxy|httpd|postgres|mysql|mariadb|mongo|rabbitmq`), nil, nil},
}

// singleThreaded are images that use one core however many there are.
var singleThreaded = regexp.MustCompile(`^(redis|valkey)`)

func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name, _, _ := strings.Cut(path.Base(image), ":")
	return name
}

// runtimeOf guesses the runtime of a container by image, environment and command.
func runtimeOf(c *corev1.Container) (v1alpha1.Runtime, string) {
	name := imageName(c.Image)
	for _, h := range hints {
		for _, e := range c.Env {
			if h.env != nil && h.env.MatchString(e.Name) {
				return h.runtime, "environment variable " + e.Name
			}
		}
	}
	for _, h := range hints {
		for _, a := range append(append([]string{}, c.Command...), c.Args...) {
			if f := strings.Fields(a); h.command != nil && len(f) > 0 && h.command.MatchString(path.Base(f[0])) {
				return h.runtime, "its command " + f[0]
			}
		}
	}
	for _, h := range hints {
		if h.images.MatchString(name) {
			return h.runtime, "its image " + name
		}
	}
	return v1alpha1.RuntimeAuto, "neither image nor environment nor command tells"
}

// pythonWorkers is the number of worker processes a python server is told to run.
func pythonWorkers(c *corev1.Container) int {
	for _, e := range c.Env {
		if e.Name == "WEB_CONCURRENCY" {
			if n, err := strconv.Atoi(e.Value); err == nil && n > 0 {
				return n
			}
		}
	}
	args := append(append([]string{}, c.Command...), c.Args...)
	for i, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok && i+1 < len(args) {
			v = args[i+1]
		}
		if k == "--workers" || k == "-w" {
			if n, err := strconv.Atoi(v); err == nil && n > 0 {
				return n
			}
		}
	}
	return 1
}

// server is the container that answers requests: the first that declares a port, else the first.
func server(t *corev1.PodTemplateSpec) *corev1.Container {
	for i := range t.Spec.Containers {
		if len(t.Spec.Containers[i].Ports) > 0 {
			return &t.Spec.Containers[i]
		}
	}
	if len(t.Spec.Containers) > 0 {
		return &t.Spec.Containers[0]
	}
	return &corev1.Container{}
}
