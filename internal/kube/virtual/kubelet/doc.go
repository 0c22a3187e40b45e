// Package kubelet is the HTTP endpoint that every virtual node has at port 10250: container logs, port-forward, exec and
// attach (refused with a reason), pods, stats and metrics, in the forms of the kubelet of Kubernetes 1.37.
//
// One handler serves all nodes; the node is chosen by the address that was dialed. It asks for pods, stats and logs
// through small functions, and nothing runs while nobody is connected. In process there is no authentication: whoever
// holds the dialer is the API server or a part of this process.
package kubelet
