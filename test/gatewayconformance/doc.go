// Package gatewayconformance runs the Gateway API's own conformance suite, unchanged, against `fairway up`: the profiles
// GATEWAY-HTTP, GATEWAY-GRPC and GATEWAY-TLS with every feature that the GatewayClass fairway claims. It prints what ran and what passed, by profile and
// by feature. It is a module of its own, so that the program does not depend on the suite, and is no part of `make test`.
//
//	make gateway-conformance
//	go test -C test/gatewayconformance -count=1 -timeout 1h -v -args -run-test HTTPRouteWeight
package gatewayconformance
