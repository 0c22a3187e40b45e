package simulate

import (
	"fmt"
	"time"
)

// Faults begin when the cluster has played a little, and are healed before the peace at the end.
const (
	firstFault = 4 * time.Minute
	holdMax    = 20 * time.Minute
)

// fault is one kind of step: what it does, and whether it is taken back after a while.
type fault struct {
	name  string
	holds bool
	// act is the action; nil when this cluster has nothing to do it to.
	act func(g *generator, key string) obj
}

// faultKinds are all actions that a scenario can say, the destructive ones more than once.
var faultKinds = []fault{
	{"nodeCrash", false, func(g *generator, key string) obj {
		return obj{"pool": g.pool(key), "mode": pick(g.dice, key+"/mode", "stop", "reboot", "hang", "kubelet"), "back": fmt.Sprintf("%dm", g.between(1, 10, "%s/back", key)), "count": g.between(1, 2, "%s/count", key)}
	}},
	{"nodeCrash", false, func(g *generator, key string) obj {
		return obj{"pool": g.pool(key), "mode": "stop", "share": "40%", "back": "2m"}
	}},
	{"nodeNotReady", true, func(g *generator, key string) obj {
		return obj{"pool": g.pool(key), "count": g.between(1, 3, "%s/count", key), "gap": "20s", "message": "disk on fire"}
	}},
	{"drain", true, func(g *generator, key string) obj {
		return obj{"pool": g.pool(key), "count": g.between(1, 2, "%s/count", key), "timeout": "8m", "gap": "10s"}
	}},
	{"drain", true, func(g *generator, key string) obj {
		return obj{"selector": "topology.kubernetes.io/zone=" + g.zone(key), "timeout": "6m", "grace": "10s"}
	}},
	{"cordon", true, func(g *generator, key string) obj { return obj{"pool": g.pool(key), "share": "50%"} }},
	{"zoneOutage", true, func(g *generator, key string) obj {
		return obj{"zone": g.zone(key), "mode": pick(g.dice, key+"/mode", "power", "network")}
	}},
	{"spotReclaim", false, func(g *generator, key string) obj {
		if !g.spot {
			return nil
		}
		return obj{"pool": "spot", "share": pick(g.dice, key+"/share", "30%", "100%"), "notice": pick(g.dice, key+"/notice", "2m", "30s"), "over": "3m"}
	}},
	{"noCapacity", true, func(g *generator, key string) obj { return obj{"pool": g.pool(key)} }},
	{"registry", true, func(g *generator, key string) obj {
		return obj{"state": pick(g.dice, key+"/state", "down", "slow", "limited")}
	}},
	{"killPods", false, func(g *generator, key string) obj {
		a := &g.apps[g.between(0, len(g.apps)-1, "%s/app", key)]
		return obj{"selector": "app=" + a.name, "namespace": a.ns, "share": pick(g.dice, key+"/share", "30%", "100%"), "mode": pick(g.dice, key+"/mode", "kill", "exit", "oom")}
	}},
	{"killPods", false, func(g *generator, key string) obj {
		return obj{"namespace": "team-0", "selector": "app", "count": g.between(1, 6, "%s/count", key), "mode": pick(g.dice, key+"/mode", "kill", "exit", "oom"), "grace": "0s"}
	}},
	{"scale", true, func(g *generator, key string) obj {
		a := g.untouched(key, func(a *app) bool { return !a.hpa })
		if a == nil {
			return nil
		}
		return obj{"workload": a.workload(), "replicas": g.between(0, 12, "%s/replicas", key)}
	}},
	{"setImage", true, func(g *generator, key string) obj {
		a := g.untouched(key, func(a *app) bool { return a.kind == "Deployment" })
		if a == nil {
			return nil
		}
		return obj{"workload": a.workload(), "image": "registry.example/" + a.name + pick(g.dice, key+"/tag", ":v2", ":does-not-exist", ":error")}
	}},
	{"restart", false, func(g *generator, key string) obj {
		a := g.untouched(key, func(a *app) bool { return true })
		if a == nil {
			return nil
		}
		return obj{"workload": a.workload()}
	}},
	{"undo", false, func(g *generator, key string) obj {
		a := g.untouched(key, func(a *app) bool { return a.kind == "Deployment" })
		if a == nil {
			return nil
		}
		return obj{"workload": a.workload()}
	}},
	{"patch", true, func(g *generator, key string) obj {
		a := g.untouched(key, func(a *app) bool { return a.hpa })
		if a == nil {
			return nil
		}
		return obj{"object": "HorizontalPodAutoscaler/" + a.ns + "/" + a.name, "patch": obj{"spec": obj{"minReplicas": 1, "maxReplicas": g.between(1, 15, "%s/max", key)}}}
	}},
	{"delete", true, func(g *generator, key string) obj {
		a := g.untouched(key, func(a *app) bool { return true })
		if a == nil {
			return nil
		}
		return obj{"list": []any{a.workload()}}
	}},
	{"quota", true, func(g *generator, key string) obj {
		ns := g.quotas[g.between(0, len(g.quotas)-1, "%s/namespace", key)]
		return obj{"namespace": ns, "name": "limits", "hard": obj{"pods": g.between(1, 12, "%s/pods", key)}}
	}},
	{"set", true, func(g *generator, key string) obj {
		a := &g.apps[g.between(0, len(g.apps)-1, "%s/app", key)]
		return obj{"match": a.ns + "/" + a.name, "errors": pick(g.dice, key+"/errors", "1%", "40%"), "cpuFactor": g.between(1, 4, "%s/factor", key)}
	}},
	{"set", true, func(g *generator, key string) obj {
		a := &g.apps[g.between(0, len(g.apps)-1, "%s/app", key)]
		return obj{"match": a.ns + "/" + a.name, "memory": obj{"base": "100Mi", "leak": "600Mi/h"}}
	}},
	{"apply", true, func(g *generator, key string) obj {
		labels := obj{"app": "late"}
		return obj{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("team-0", "late"), "spec": obj{"replicas": g.between(1, 8, "%s/replicas", key), "selector": obj{"matchLabels": labels},
			"template": obj{"metadata": obj{"labels": labels}, "spec": obj{"containers": []any{obj{"name": "main", "image": "registry.example/late:v1", "resources": obj{"requests": obj{"cpu": "300m", "memory": "200Mi"}}}}}}}}
	}},
	{"loadFactor", true, func(g *generator, key string) obj { return obj{"factor": g.between(0, 6, "%s/factor", key)} }},
}

// faults adds the steps.
func (g *generator) faults() {
	n := g.between((g.size.Faults+1)/2, g.size.Faults, "faults")
	last := g.size.Duration - PeaceAtEnd - holdMax
	for i := range n {
		key := fmt.Sprintf("fault/%d", i)
		f := faultKinds[g.between(0, len(faultKinds)-1, "%s", key)]
		action := f.act(g, key)
		if action == nil {
			continue
		}
		at := firstFault + time.Duration(g.unit("%s/at", key)*float64(last-firstFault)).Truncate(time.Second)
		s := obj{"name": fmt.Sprintf("%d %s", i, f.name), "at": "+" + at.String(), "required": false, f.name: any(action)}
		if list, ok := action["list"]; ok {
			s[f.name] = list
		}
		if f.holds {
			s["for"] = (time.Minute + time.Duration(g.unit("%s/for", key)*float64(holdMax-time.Minute)).Truncate(time.Second)).String()
		}
		g.steps = append(g.steps, s)
	}
	g.steps = append(g.steps,
		obj{"name": "often", "every": "9m", "times": 3, "required": false, "killPods": obj{"selector": "app", "namespace": "team-0"}},
		obj{"name": "busy", "when": `pods.filter(p, p.phase == "Pending").size() > 3`, "note": "many pods wait"},
		obj{"name": "peace", "at": "+" + (g.size.Duration - PeaceAtEnd).String(), "required": false, "assert": `nodes.size() > 0`},
	)
}

// pool is the name of one of the pools.
func (g *generator) pool(key string) string {
	p := g.poolList[g.between(0, len(g.poolList)-1, "%s/pool", key)].(obj)
	return p["name"].(string)
}

func (g *generator) zone(key string) string {
	return g.zones[g.between(0, len(g.zones)-1, "%s/zone", key)]
}

// untouched is a workload that no earlier fault changes: two changes of one object that are taken back in another order
// would leave it changed for ever.
func (g *generator) untouched(key string, fits func(*app) bool) *app {
	first := g.between(0, len(g.apps)-1, "%s/app", key)
	for i := range g.apps {
		if a := &g.apps[(first+i)%len(g.apps)]; !a.touched && fits(a) {
			a.touched = true
			return a
		}
	}
	return nil
}
