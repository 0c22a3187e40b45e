package simulate

import "fmt"

// pools: on-demand nodes over some zones, and often spot nodes beside them.
func (g *generator) pools() {
	g.zones = []string{"a", "b", "c"}[:g.between(1, 3, "zones")]
	g.poolList = append(g.poolList, obj{"name": "base", "type": pick(g.dice, "type", "m5.large", "m5.xlarge", "m5.2xlarge"), "zones": g.zones, "size": g.between(4, 8, "base") + g.size.Rollouts/4})
	if g.spot = g.chance(0.6, "spot"); g.spot {
		g.poolList = append(g.poolList, obj{"name": "spot", "cpu": "4", "memory": "16Gi", "capacityType": "spot", "zones": g.zones, "size": g.between(2, 5, "spot-size"),
			"maxPods": g.between(12, 60, "max-pods")})
	}
}

// services: workloads that serve requests and call each other, forward only, so that there is no ring.
func (g *generator) services() {
	n := g.between((g.size.Services+1)/2, g.size.Services, "services")
	namespaces := g.between(1, 3, "namespaces")
	for i := range n {
		a := app{ns: fmt.Sprintf("team-%d", i%namespaces), name: fmt.Sprintf("svc-%d", i), kind: pick(g.dice, fmt.Sprintf("kind/%d", i), "Deployment", "Deployment", "Deployment", "StatefulSet")}
		a.rollable = true
		a.hpa = g.chance(0.5, "hpa/%d", i)
		g.apps = append(g.apps, a)
	}
	for i := range g.apps {
		g.workload(i)
		g.policies(i)
		g.model(i)
	}
	for ns := range namespaces {
		if ns == 0 || g.chance(0.5, "quota/%d", ns) {
			name := fmt.Sprintf("team-%d", ns)
			g.quotas = append(g.quotas, name)
			g.add(obj{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta(name, "limits"), "spec": obj{"hard": obj{"pods": g.between(15, 80, "quota-pods/%d", ns),
				"requests.cpu": g.between(6, 30, "quota-cpu/%d", ns)}}})
		}
	}
}

// workload writes the objects of one service.
func (g *generator) workload(i int) {
	a := &g.apps[i]
	labels := obj{"app": a.name}
	spec := obj{"replicas": g.between(1, 5, "replicas/%d", i), "selector": obj{"matchLabels": labels}, "template": obj{"metadata": obj{"labels": labels}, "spec": g.podSpec(i)}}
	switch a.kind {
	case "Deployment":
		if g.chance(0.5, "strategy/%d", i) {
			spec["strategy"] = obj{"type": "RollingUpdate", "rollingUpdate": obj{"maxSurge": pick(g.dice, fmt.Sprintf("surge/%d", i), "1", "25%", "100%"), "maxUnavailable": pick(g.dice, fmt.Sprintf("unavailable/%d", i), "0", "25%")}}
			rolling := spec["strategy"].(obj)["rollingUpdate"].(obj)
			for _, k := range []string{"maxSurge", "maxUnavailable"} {
				if rolling[k] == "1" || rolling[k] == "0" {
					rolling[k] = map[any]int{"1": 1, "0": 0}[rolling[k]]
				}
			}
		} else if g.chance(0.2, "recreate/%d", i) {
			spec["strategy"] = obj{"type": "Recreate"}
		}
	case "StatefulSet":
		spec["serviceName"] = a.name
		spec["podManagementPolicy"] = pick(g.dice, fmt.Sprintf("ordered/%d", i), "OrderedReady", "Parallel")
		if g.chance(0.4, "claims/%d", i) {
			spec["volumeClaimTemplates"] = []any{obj{"metadata": obj{"name": "data"}, "spec": obj{"accessModes": []any{"ReadWriteOnce"}, "resources": obj{"requests": obj{"storage": "1Gi"}}}}}
			c := spec["template"].(obj)["spec"].(obj)["containers"].([]any)[0].(obj)
			c["volumeMounts"] = []any{obj{"name": "data", "mountPath": "/data"}}
		}
	}
	g.add(obj{"apiVersion": "apps/v1", "kind": a.kind, "metadata": meta(a.ns, a.name), "spec": spec})
	g.add(obj{"apiVersion": "v1", "kind": "Service", "metadata": meta(a.ns, a.name), "spec": obj{"selector": labels, "ports": []any{obj{"port": 80, "targetPort": 8080}}}})
}

func (g *generator) podSpec(i int) obj {
	a := &g.apps[i]
	cpu, memory := g.between(1, 10, "cpu/%d", i)*50, g.between(1, 8, "memory/%d", i)*64
	resources := obj{"requests": obj{"cpu": fmt.Sprintf("%dm", cpu), "memory": fmt.Sprintf("%dMi", memory)}}
	if g.chance(0.5, "limits/%d", i) {
		resources["limits"] = obj{"cpu": fmt.Sprintf("%dm", cpu*g.between(1, 3, "cpu-limit/%d", i)), "memory": fmt.Sprintf("%dMi", memory*2)}
	}
	c := obj{"name": "main", "image": "registry.example/" + a.name + ":v1", "ports": []any{obj{"containerPort": 8080}}, "resources": resources}
	if g.chance(0.7, "readiness/%d", i) {
		c["readinessProbe"] = obj{"httpGet": obj{"path": "/ready", "port": 8080}, "periodSeconds": g.between(1, 10, "period/%d", i), "failureThreshold": g.between(1, 3, "threshold/%d", i)}
	}
	grace := g.between(2, 60, "grace/%d", i)
	if g.chance(0.3, "pre-stop/%d", i) {
		c["lifecycle"] = obj{"preStop": obj{"sleep": obj{"seconds": g.between(1, min(15, grace-1), "pre-stop-seconds/%d", i)}}}
	}
	spec := obj{"containers": []any{c}, "terminationGracePeriodSeconds": grace}
	if g.chance(0.2, "init/%d", i) {
		spec["initContainers"] = []any{obj{"name": "prepare", "image": "registry.example/prepare:v1", "command": []any{"sh", "-c", "sleep 5"},
			"resources": obj{"requests": obj{"cpu": "50m", "memory": "32Mi"}}}}
	}
	if g.chance(0.3, "spread/%d", i) {
		spec["topologySpreadConstraints"] = []any{obj{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": obj{"matchLabels": obj{"app": a.name}}}}
	}
	if g.chance(0.15, "priority/%d", i) {
		spec["priorityClassName"] = "important"
	}
	return spec
}

// policies: an autoscaler and a disruption budget.
func (g *generator) policies(i int) {
	a := &g.apps[i]
	if a.hpa {
		low := g.between(1, 3, "hpa-min/%d", i)
		g.add(obj{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta(a.ns, a.name), "spec": obj{
			"scaleTargetRef": obj{"apiVersion": "apps/v1", "kind": a.kind, "name": a.name}, "minReplicas": low, "maxReplicas": low + g.between(1, 9, "hpa-span/%d", i),
			"metrics": []any{obj{"type": "Resource", "resource": obj{"name": "cpu", "target": obj{"type": "Utilization", "averageUtilization": g.between(40, 80, "hpa-target/%d", i)}}}}}})
	}
	if g.chance(0.6, "budget/%d", i) {
		spec := obj{"selector": obj{"matchLabels": obj{"app": a.name}}}
		switch g.between(0, 3, "budget-kind/%d", i) {
		case 0:
			spec["minAvailable"] = 1
		case 1:
			spec["minAvailable"] = "50%"
		case 2:
			spec["maxUnavailable"] = 1
		default:
			spec["maxUnavailable"] = "30%"
		}
		g.add(obj{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta(a.ns, a.name), "spec": spec})
	}
}

// model says how the pods of a service behave.
func (g *generator) model(i int) {
	a := &g.apps[i]
	var calls []any
	for j := i + 1; j < len(g.apps); j++ {
		if g.chance(0.3, "call/%d/%d", i, j) {
			suffix := pick(g.dice, fmt.Sprintf("call-kind/%d/%d", i, j), "", "", "*2", "?")
			calls = append(calls, g.apps[j].ns+"/"+g.apps[j].name+suffix)
		}
	}
	m := obj{"match": a.ns + "/" + a.name, "cpu": fmt.Sprintf("%dms", g.between(1, 12, "cpu-cost/%d", i)),
		"latency": obj{"p50": fmt.Sprintf("%dms", g.between(12, 40, "p50/%d", i)), "p99": fmt.Sprintf("%dms", g.between(100, 400, "p99/%d", i))},
		"ready":   obj{"p50": fmt.Sprintf("%ds", g.between(1, 20, "ready/%d", i)), "p99": fmt.Sprintf("%ds", g.between(21, 60, "ready-p99/%d", i))},
		"stop":    fmt.Sprintf("%ds", g.between(1, 90, "stop/%d", i))}
	if len(calls) > 0 {
		m["calls"] = calls
	}
	if g.chance(0.4, "timeout/%d", i) {
		m["timeout"] = fmt.Sprintf("%dms", g.between(200, 3000, "timeout-ms/%d", i))
		m["retries"] = obj{"max": g.between(1, 3, "retries/%d", i), "budget": "20%"}
	}
	if g.chance(0.3, "concurrency/%d", i) {
		m["concurrency"] = g.between(2, 32, "workers/%d", i)
	}
	if g.chance(0.2, "errors/%d", i) {
		m["errors"] = "0.5%"
	}
	if g.chance(0.3, "balance/%d", i) {
		m["balance"] = pick(g.dice, fmt.Sprintf("balance-kind/%d", i), "rr", "connection", "random")
	}
	g.models = append(g.models, m)
}

// extras: what serves no requests.
func (g *generator) extras() {
	g.add(obj{"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": meta("", "important"), "value": 1000})
	pod := func(image, cpu string, command []any, restart string) obj {
		spec := obj{"containers": []any{obj{"name": "main", "image": "registry.example/" + image, "command": command, "resources": obj{"requests": obj{"cpu": cpu, "memory": "32Mi"}}}}}
		if restart != "" {
			spec["restartPolicy"] = restart
		}
		return obj{"metadata": obj{"labels": obj{"app": image}}, "spec": spec}
	}
	if g.chance(0.6, "daemon-set") {
		g.add(obj{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta("system", "agent"), "spec": obj{"selector": obj{"matchLabels": obj{"app": "agent"}}, "template": pod("agent", "50m", nil, "")}})
	}
	for i := range g.between(0, 3, "jobs") {
		n := g.between(1, 4, "completions/%d", i)
		g.add(obj{"apiVersion": "batch/v1", "kind": "Job", "metadata": meta("jobs", fmt.Sprintf("job-%d", i)), "spec": obj{"completions": n, "parallelism": g.between(1, n, "parallelism/%d", i),
			"template": pod(fmt.Sprintf("job-%d", i), "100m", []any{"sh", "-c", "sleep 60"}, pick(g.dice, fmt.Sprintf("restart/%d", i), "Never", "OnFailure"))}})
	}
	if g.chance(0.5, "cron-job") {
		g.add(obj{"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta("jobs", "tick"), "spec": obj{"schedule": "*/15 * * * *", "concurrencyPolicy": pick(g.dice, "concurrency-policy", "Allow", "Forbid", "Replace"),
			"jobTemplate": obj{"spec": obj{"template": pod("tick", "50m", []any{"sh", "-c", "sleep 30"}, "Never")}}}})
	}
}

// loads: streams of requests into the first services.
func (g *generator) loads() {
	for i := range g.between(1, min(3, len(g.apps)), "loads") {
		a := &g.apps[i]
		l := obj{"name": fmt.Sprintf("load-%d", i), "to": a.ns + "/" + a.name}
		rate := g.between(2, 60, "rate/%d", i)
		switch g.between(0, 3, "curve/%d", i) {
		case 0:
			l["rate"] = rate
		case 1:
			l["daily"] = obj{"low": rate, "high": rate * 4, "peakAt": "01:00"}
		case 2:
			third := (g.size.Duration / 3).String()
			l["stages"] = []any{obj{"for": third, "to": rate * 3}, obj{"for": third, "to": rate * 3}, obj{"for": third, "to": rate}}
		default:
			l["users"] = obj{"count": rate * 2, "think": "2s"}
		}
		if g.chance(0.5, "noise/%d", i) {
			l["noise"] = "10%"
		}
		if g.chance(0.3, "give-up/%d", i) {
			l["giveUp"] = "2s"
		}
		g.loadList = append(g.loadList, l)
	}
}
