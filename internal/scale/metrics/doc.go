// Package metrics is the resource metrics API: what pods and nodes use, for kubectl top and the HorizontalPodAutoscaler.
//
// In: cumulative counters of containers and nodes, scraped from kubelets (/metrics/resource) or read in process from
// virtual nodes when somebody asks. Out: metrics.k8s.io/v1beta1 and v1, served as an aggregated API with delegated
// authentication and authorisation. The rules by which two readings become a rate follow metrics-server 0.9; decide.go
// holds them, without I/O.
package metrics
