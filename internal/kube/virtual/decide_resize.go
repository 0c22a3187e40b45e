package virtual

import v1 "k8s.io/api/core/v1"

func resizeConditions(s *PodState, pod *v1.Pod) []v1.PodCondition { return nil }
