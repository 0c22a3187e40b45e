package platform

func metricsCapability() Capability {
	return Capability{Name: "metrics", Purpose: "resource metrics API (kubectl top, HorizontalPodAutoscaler)", Default: true}
}
