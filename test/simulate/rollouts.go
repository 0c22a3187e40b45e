package simulate

import (
	"fmt"
	"time"
)

// Rollouts are updated, steered and disturbed between these times; after lastUpdate each goes to a good template once more.
const (
	firstUpdate = 3 * time.Minute
	lastUpdate  = 20 * time.Minute // before the peace
)

// ship is one Rollout.
type ship struct {
	ns, name string
	strategy string // basic, routed, ping-pong, blue-green or lent
	steps    []any
	hpa      bool
}

func (s *ship) workload() string { return "Rollout/" + s.ns + "/" + s.name }

func (s *ship) image(tag string) string { return "registry.example/" + s.name + ":" + tag }

// rollouts adds Rollouts with all they refer to, and what happens to them.
func (g *generator) rollouts() {
	if g.size.Rollouts == 0 {
		return
	}
	g.add(obj{"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": meta("ship", "smoke"), "spec": obj{
		"args": []any{obj{"name": "service"}},
		"metrics": []any{obj{"name": "smoke", "count": 1, "provider": obj{"job": obj{"spec": obj{"backoffLimit": 0, "template": obj{
			"metadata": obj{"annotations": obj{"fairway.dev/rehearse-check": "service={{args.service}} requests=50 errors=10%"}},
			"spec":     obj{"restartPolicy": "Never", "containers": []any{obj{"name": "test", "image": "registry.example/test:1", "command": []any{"sh", "-c", "sleep 10"}, "resources": obj{"requests": obj{"cpu": "20m", "memory": "16Mi"}}}}},
		}}}}}}}})
	g.add(obj{"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": meta("ship", "blind"), "spec": obj{ // its back-end does not exist
		"metrics": []any{obj{"name": "blind", "interval": "20s", "count": 3, "consecutiveErrorLimit": 2, "provider": obj{"web": obj{"url": "http://nobody.ship.svc/", "timeoutSeconds": 2}}}}}})
	for i := range g.between((g.size.Rollouts+1)/2, g.size.Rollouts, "rollouts") {
		s := ship{ns: "ship", name: fmt.Sprintf("ship-%d", i), strategy: pick(g.dice, fmt.Sprintf("ship/%d/strategy", i), "basic", "basic", "routed", "routed", "routed", "ping-pong", "blue-green", "blue-green", "lent")}
		g.ship(i, &s)
		g.ships = append(g.ships, s)
	}
	g.actions()
}

// ship writes the objects of one Rollout.
func (g *generator) ship(i int, s *ship) {
	d := drawn{g.dice, fmt.Sprintf("ship/%d/", i)}
	labels := obj{"app": s.name}
	container := obj{"name": "main", "image": s.image("v1"), "ports": []any{obj{"containerPort": 8080}}, "resources": obj{"requests": obj{"cpu": "60m", "memory": "64Mi"}}}
	if d.chance(0.7, "readiness") {
		container["readinessProbe"] = obj{"httpGet": obj{"path": "/ready", "port": 8080}, "periodSeconds": d.between(1, 10, "period")}
	}
	template := obj{"metadata": obj{"labels": labels}, "spec": obj{"containers": []any{container}, "terminationGracePeriodSeconds": d.between(2, 40, "grace")}}
	spec := obj{"replicas": d.between(1, 6, "replicas"), "selector": obj{"matchLabels": labels}, "template": template,
		"revisionHistoryLimit": d.between(1, 4, "history"), "progressDeadlineSeconds": d.between(120, 600, "deadline")}
	if d.chance(0.4, "abort-late") {
		spec["progressDeadlineAbort"] = true
	}
	if d.chance(0.3, "window") {
		spec["rollbackWindow"] = obj{"revisions": d.between(1, 3, "revisions")}
	}
	if d.chance(0.3, "min-ready") {
		spec["minReadySeconds"] = d.between(1, 20, "min-ready-seconds")
	}
	service := func(name string) {
		g.add(obj{"apiVersion": "v1", "kind": "Service", "metadata": meta(s.ns, name), "spec": obj{"selector": labels, "ports": []any{obj{"port": 80, "targetPort": 8080}}}})
	}
	service(s.name)
	if s.strategy == "blue-green" {
		spec["strategy"] = obj{"blueGreen": g.blueGreen(d, s)}
		service(s.name + "-preview")
	} else {
		spec["strategy"] = obj{"canary": g.canary(d, s, spec["replicas"].(int))}
		if s.strategy == "routed" {
			service(s.name + "-canary")
		}
		if s.strategy == "ping-pong" {
			service(s.name + "-ping")
			service(s.name + "-pong")
		}
	}
	g.ingress(s)
	if s.strategy == "lent" {
		delete(spec, "template")
		spec["workloadRef"] = obj{"apiVersion": "apps/v1", "kind": "Deployment", "name": s.name + "-lent"}
		lent := obj{"replicas": 0, "selector": spec["selector"], "template": template}
		g.add(obj{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(s.ns, s.name+"-lent"), "spec": lent})
	}
	g.add(obj{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": meta(s.ns, s.name), "spec": spec})
	if s.hpa = d.chance(0.3, "hpa") && !g.size.Idle; s.hpa {
		low := d.between(1, 3, "hpa-min")
		g.add(obj{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta(s.ns, s.name), "spec": obj{
			"scaleTargetRef": obj{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": s.name}, "minReplicas": low, "maxReplicas": low + d.between(1, 5, "hpa-span"),
			"metrics": []any{obj{"type": "Resource", "resource": obj{"name": "cpu", "target": obj{"type": "Utilization", "averageUtilization": 60}}}}}})
	}
	if d.chance(0.4, "budget") {
		g.add(obj{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta(s.ns, s.name), "spec": obj{"selector": obj{"matchLabels": labels}, "maxUnavailable": 1}})
	}
	g.loadList = append(g.loadList, obj{"name": "to-" + s.name, "to": s.ns + "/" + s.name, "rate": d.between(1, 10, "rate")})
	g.models = append(g.models, obj{"match": s.ns + "/" + s.name, "cpu": "2ms", "ready": obj{"p50": fmt.Sprintf("%ds", d.between(1, 15, "ready")), "p99": "40s"}})
}

// drawn are the draws of one thing.
type drawn struct {
	dice
	of string
}

func (d drawn) between(low, high int, name string) int {
	return d.dice.between(low, high, "%s", d.of+name)
}

func (d drawn) chance(p float64, name string) bool { return d.dice.chance(p, "%s", d.of+name) }

func (d drawn) pick(name string, choices ...string) string {
	return pick(d.dice, d.of+name, choices...)
}

// judged is an analysis of one of the templates.
func (s *ship) judged(d drawn, name string) obj {
	if d.chance(0.15, name+"/blind") {
		return obj{"templates": []any{obj{"templateName": "blind"}}}
	}
	return obj{"templates": []any{obj{"templateName": "smoke"}}, "args": []any{obj{"name": "service", "value": s.ns + "/" + s.name}}}
}

func (g *generator) blueGreen(d drawn, s *ship) obj {
	b := obj{"activeService": s.name, "previewService": s.name + "-preview"}
	switch d.between(0, 2, "promotion") {
	case 0:
		b["autoPromotionEnabled"] = false
	case 1:
		b["autoPromotionSeconds"] = d.between(5, 120, "auto")
	}
	if d.chance(0.4, "preview-count") {
		b["previewReplicaCount"] = 1
	}
	if d.chance(0.4, "pre") {
		b["prePromotionAnalysis"] = s.judged(d, "pre")
	}
	if d.chance(0.4, "post") {
		b["postPromotionAnalysis"] = s.judged(d, "post")
	}
	if d.chance(0.5, "delay") {
		b["scaleDownDelaySeconds"] = d.between(1, 300, "delay-seconds")
	}
	if d.chance(0.3, "abort-delay") {
		b["abortScaleDownDelaySeconds"] = d.between(0, 60, "abort-delay-seconds")
	}
	return b
}

func (g *generator) canary(d drawn, s *ship, replicas int) obj {
	c := obj{"maxSurge": d.between(1, 2, "surge"), "maxUnavailable": d.between(0, 1, "unavailable")}
	routing := s.strategy == "routed" || s.strategy == "ping-pong"
	switch s.strategy {
	case "routed":
		c["canaryService"], c["stableService"] = s.name+"-canary", s.name
		c["trafficRouting"] = obj{"nginx": obj{"stableIngress": s.name}}
	case "ping-pong":
		c["pingPong"] = obj{"pingService": s.name + "-ping", "pongService": s.name + "-pong"}
		c["trafficRouting"] = obj{"alb": obj{"ingress": s.name, "servicePort": 80, "rootService": s.name}}
	}
	if routing {
		if d.chance(0.4, "dynamic") {
			c["dynamicStableScale"] = true
		} else if d.chance(0.4, "delay") {
			c["scaleDownDelaySeconds"] = d.between(1, 300, "delay-seconds")
		}
		if d.chance(0.3, "abort-delay") {
			c["abortScaleDownDelaySeconds"] = d.between(0, 90, "abort-delay-seconds")
		}
		if d.chance(0.2, "pairs") {
			c["minPodsPerReplicaSet"] = 2
		}
	}
	if d.chance(0.3, "background") {
		c["analysis"] = s.judged(d, "background")
	}
	if d.chance(0.3, "metadata") {
		c["canaryMetadata"], c["stableMetadata"] = obj{"labels": obj{"part": "canary"}}, obj{"labels": obj{"part": "stable"}}
	}
	for j := range d.between(0, 5, "steps") {
		s.steps = append(s.steps, g.step(d, s, fmt.Sprintf("step/%d", j), routing, replicas))
	}
	if len(s.steps) > 0 {
		c["steps"] = s.steps
	}
	return c
}

func (g *generator) step(d drawn, s *ship, name string, routing bool, replicas int) obj {
	kinds := []string{"weight", "weight", "weight", "pause", "wait", "wait", "analysis", "experiment"}
	if routing {
		kinds = append(kinds, "scale")
	}
	switch d.pick(name, kinds...) {
	case "pause":
		return obj{"pause": obj{}}
	case "wait":
		return obj{"pause": obj{"duration": fmt.Sprintf("%ds", d.between(5, 240, name+"/seconds"))}}
	case "analysis":
		return obj{"analysis": s.judged(d, name)}
	case "experiment":
		return obj{"experiment": obj{"duration": "1m", "templates": []any{obj{"name": "try", "specRef": d.pick(name+"/of", "canary", "stable"), "replicas": 1}}}}
	case "scale":
		switch d.between(0, 2, name+"/scale") {
		case 0:
			return obj{"setCanaryScale": obj{"replicas": d.between(1, replicas, name+"/pods")}}
		case 1:
			return obj{"setCanaryScale": obj{"weight": d.between(1, 100, name+"/pods-weight")}}
		}
		return obj{"setCanaryScale": obj{"matchTrafficWeight": true}}
	}
	return obj{"setWeight": d.between(1, 100, name+"/weight")}
}

// ingress that leads to the Rollout by its router.
func (g *generator) ingress(s *ship) {
	port := obj{"number": 80}
	if s.strategy == "ping-pong" {
		port = obj{"name": "use-annotation"}
	} else if s.strategy != "routed" {
		return
	}
	g.add(obj{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta(s.ns, s.name), "spec": obj{"rules": []any{obj{"host": s.name + ".example",
		"http": obj{"paths": []any{obj{"path": "/", "pathType": "Prefix", "backend": obj{"service": obj{"name": s.name, "port": port}}}}}}}}})
}

// steering is one thing that a user, or misfortune, does to a Rollout.
type steering struct {
	name string
	hold bool
	act  func(g *generator, s *ship, key string) any
}

func whole(_ *generator, s *ship, _ string) any { return s.workload() }

var steerings = []steering{
	{"setImage", false, setImage}, {"setImage", false, setImage}, {"setImage", false, setImage}, {"setImage", false, setImage},
	{"setImage", false, func(g *generator, s *ship, key string) any {
		return obj{"workload": s.workload(), "image": s.image(pick(g.dice, key+"/bad", "does-not-exist", "error"))}
	}},
	{"promote", false, whole}, {"promote", false, whole}, {"promote", false, whole},
	{"promote", false, func(_ *generator, s *ship, _ string) any { return obj{"workload": s.workload(), "full": true} }},
	{"abort", false, whole}, {"abort", false, whole}, {"retry", false, whole}, {"retry", false, whole}, {"undo", false, asObject}, {"undo", false, asObject}, {"restart", false, asObject},
	{"pause", true, whole}, {"resume", false, whole},
	{"scale", true, func(g *generator, s *ship, key string) any {
		return obj{"workload": s.workload(), "replicas": g.between(1, 8, "%s/replicas", key)}
	}},
	{"patch", true, func(g *generator, s *ship, key string) any {
		if len(s.steps) == 0 {
			return nil
		}
		return obj{"object": s.workload(), "patch": obj{"spec": obj{"strategy": obj{"canary": obj{"steps": s.steps[:len(s.steps)/2+1]}}}}}
	}},
	{"delete", true, func(g *generator, s *ship, _ string) any {
		if s.strategy != "routed" && s.strategy != "ping-pong" {
			return nil
		}
		return []any{"Ingress/" + s.ns + "/" + s.name}
	}},
	{"killPods", false, func(g *generator, s *ship, key string) any {
		return obj{"selector": "app=" + s.name, "namespace": s.ns, "share": pick(g.dice, key+"/share", "50%", "100%"), "mode": pick(g.dice, key+"/mode", "kill", "exit")}
	}},
	{"set", true, func(g *generator, s *ship, key string) any {
		return obj{"match": s.ns + "/" + s.name, "errors": "40%"}
	}},
}

func asObject(_ *generator, s *ship, _ string) any { return obj{"workload": s.workload()} }

func setImage(g *generator, s *ship, key string) any {
	return obj{"workload": s.workload(), "image": s.image(pick(g.dice, key+"/tag", "v1", "v2", "v3", "v4"))}
}

// actions on Rollouts, and at the end one more update of each, which somebody promotes.
func (g *generator) actions() {
	last := g.size.Duration - PeaceAtEnd - lastUpdate
	add := func(name string, at time.Duration, more obj) {
		step := obj{"name": name, "at": "+" + at.Truncate(time.Second).String(), "required": false}
		for k, v := range more {
			step[k] = v
		}
		g.steps = append(g.steps, step)
	}
	if g.size.Idle {
		for i := range g.ships {
			s := &g.ships[i]
			add("update "+s.name, 2*time.Minute+time.Duration(i)*5*time.Second, obj{"setImage": obj{"workload": s.workload(), "image": s.image("v2")}})
		}
		return
	}
	for i := range g.size.Actions {
		key := fmt.Sprintf("action/%d", i)
		s := &g.ships[g.between(0, len(g.ships)-1, "%s/ship", key)]
		a := steerings[g.between(0, len(steerings)-1, "%s", key)]
		if a.name == "scale" && s.hpa {
			continue
		}
		what := a.act(g, s, key)
		if what == nil {
			continue
		}
		at := firstUpdate + time.Duration(g.unit("%s/at", key)*float64(last-firstUpdate-5*time.Minute))
		more := obj{a.name: what}
		if a.hold {
			more["for"] = (20*time.Second + time.Duration(g.unit("%s/for", key)*float64(4*time.Minute))).Truncate(time.Second).String()
		}
		add(fmt.Sprintf("%d %s %s", i, a.name, s.name), at, more)
	}
	for i := range g.ships {
		s := &g.ships[i]
		add("let go "+s.name, last, obj{"resume": s.workload()})
		add("last "+s.name, last+time.Minute, obj{"setImage": obj{"workload": s.workload(), "image": s.image("v9")}})
		for n := range 7 {
			add(fmt.Sprintf("go on %s %d", s.name, n), last+time.Duration(n+2)*2*time.Minute, obj{"promote": s.workload()})
		}
	}
}
