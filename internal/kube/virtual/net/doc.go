// Package vnet is the network of one process in which nodes and pods have addresses but no sockets.
//
// In come the Pods, Services, EndpointSlices and Nodes of the shared informers ([Tables]) and whoever serves an address
// ([Network]); out come ordinary net.Conn values ([Dialer]). Names are answered as CoreDNS answers them, Services as
// kube-proxy balances them (KEP-752, KEP-2086, KEP-2433, KEP-3015). Connections are buffered pairs in memory, so that
// ports below 1024 need no rights and a virtual clock may jump while all wait. Nothing here ticks: an idle connection,
// listener or pod holds memory only.
package vnet
