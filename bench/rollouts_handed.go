package main

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// handedOverRollouts are the Rollouts of handedOverObjects, one for each state that lasts.
var handedOverRollouts = []string{"stepping", "green", "aborted", "held", "referring", "analysing", "trying", "routed"}

// handedOverObjects are what is handed from one controller to the other: a canary in a pause, a blue-green before its
// promotion, one that will be aborted, one that will be held by spec.paused, one that refers to a Deployment, one with a
// running analysis, one with a running experiment, and one behind an Ingress with a weight.
const handedOverObjects = `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: stepping}
spec:
  replicas: 5
  selector: {matchLabels: {app: stepping}}
  template: {metadata: {labels: {app: stepping}}, spec: {containers: [{name: c, image: "img:v1"}]}}
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}, {setWeight: 60}, {pause: {}}]}}
---
apiVersion: v1
kind: Service
metadata: {name: green}
spec: {selector: {app: green}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: green-preview}
spec: {selector: {app: green}, ports: [{port: 80}]}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: green}
spec:
  replicas: 2
  selector: {matchLabels: {app: green}}
  template: {metadata: {labels: {app: green}}, spec: {containers: [{name: c, image: "img:v1"}]}}
  strategy: {blueGreen: {activeService: green, previewService: green-preview, autoPromotionEnabled: false}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: aborted}
spec:
  replicas: 4
  selector: {matchLabels: {app: aborted}}
  template: {metadata: {labels: {app: aborted}}, spec: {containers: [{name: c, image: "img:v1"}]}}
  strategy: {canary: {steps: [{setWeight: 25}, {pause: {}}]}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: held}
spec:
  replicas: 4
  selector: {matchLabels: {app: held}}
  template: {metadata: {labels: {app: held}}, spec: {containers: [{name: c, image: "img:v1"}]}}
  strategy: {canary: {steps: [{setWeight: 50}, {pause: {duration: 1h}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: referring}
spec:
  replicas: 0
  selector: {matchLabels: {app: referring}}
  template: {metadata: {labels: {app: referring}}, spec: {containers: [{name: c, image: "img:v1"}]}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: referring}
spec:
  replicas: 5
  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: referring}
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}, {setWeight: 60}, {pause: {}}]}}
---
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: long}
spec:
  metrics:
  - name: long
    provider: {job: {spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: c, image: "img:v1", command: [sleep, "3600"]}]}}}}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: analysing}
spec:
  replicas: 4
  selector: {matchLabels: {app: analysing}}
  template: {metadata: {labels: {app: analysing}}, spec: {containers: [{name: c, image: "img:v1"}]}}
  strategy: {canary: {steps: [{setWeight: 25}, {analysis: {templates: [{templateName: long}]}}, {pause: {}}]}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: trying}
spec:
  replicas: 4
  selector: {matchLabels: {app: trying}}
  template: {metadata: {labels: {app: trying}}, spec: {containers: [{name: c, image: "img:v1"}]}}
  strategy: {canary: {steps: [{setWeight: 25}, {experiment: {duration: 1h, templates: [{name: baseline, specRef: stable}, {name: fresh, specRef: canary}]}}, {pause: {}}]}}
---
apiVersion: v1
kind: Service
metadata: {name: routed}
spec: {selector: {app: routed}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: routed-canary}
spec: {selector: {app: routed}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: routed}
spec:
  ingressClassName: nginx
  rules: [{host: example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: routed, port: {number: 80}}}}]}}]
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: routed}
spec:
  replicas: 4
  selector: {matchLabels: {app: routed}}
  template: {metadata: {labels: {app: routed}}, spec: {containers: [{name: c, image: "img:v1"}]}}
  strategy:
    canary:
      stableService: routed
      canaryService: routed-canary
      trafficRouting: {nginx: {stableIngress: routed}}
      steps: [{setWeight: 20}, {pause: {}}, {setWeight: 60}, {pause: {}}]
`

// create makes an object of one of the kinds in handedOverObjects.
func (f *field) create(ctx context.Context, text string) error {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		return err
	}
	plural := map[string]string{"Rollout": "rollouts", "Service": "services", "Ingress": "ingresses", "Deployment": "deployments", "AnalysisTemplate": "analysistemplates"}[u.GetKind()]
	kind := schema.FromAPIVersionAndKind(u.GetAPIVersion(), u.GetKind())
	_, err := f.any.Resource(kind.GroupVersion().WithResource(plural)).Namespace("default").Create(ctx, u, metav1.CreateOptions{})
	return err
}
