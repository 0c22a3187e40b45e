package serve

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// echoService is the gRPC service of the Gateway API's echo server; its methods Echo and EchoTwo tell what they were asked.
const echoService = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/"

// Codes of gRPC.
const (
	grpcOK            = "0"
	grpcUnimplemented = "12"
)

// maxMessage bounds a request of the gRPC echo server; it is read and not looked at.
const maxMessage = 4 << 20

// ServeGRPC answers the calls of the echo service. Without GRPC_ECHO_SERVER in its environment the server knows no gRPC: a
// call is answered as any request is.
func (e *echo) ServeGRPC(w http.ResponseWriter, r *http.Request) {
	if e.what.Env[envGRPC] == "" {
		e.ServeHTTP(w, r)
		return
	}
	e.perform(w, r, e.answerCall)
}

func (e *echo) answerCall(w http.ResponseWriter, r *http.Request) {
	over := "plaintext"
	if r.TLS != nil {
		over = "TLS"
	}
	e.what.log("Received over " + over + ": " + r.URL.Path)
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Trailer", "Grpc-Status, Grpc-Message")
	method, known := strings.CutPrefix(r.URL.Path, echoService)
	if !known || method != "Echo" && method != "EchoTwo" {
		h.Set("Grpc-Status", grpcUnimplemented)
		h.Set("Grpc-Message", "method "+r.URL.Path+" is not implemented")
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxMessage))
	message := e.assertions(r)
	frame := make([]byte, 5, 5+len(message)) // not compressed
	binary.BigEndian.PutUint32(frame[1:], uint32(len(message)))
	_, _ = w.Write(append(frame, message...))
	h.Set("Grpc-Status", grpcOK)
	h.Set("Grpc-Message", "")
}

// assertions is the message EchoResponse{assertions, request} of grpcecho.proto.
func (e *echo) assertions(r *http.Request) []byte {
	var a []byte
	a = text(a, 1, r.URL.Path)
	a = bytesOf(a, 2, text(text(nil, 1, ":authority"), 2, r.Host))
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, v := range r.Header[name] {
			a = bytesOf(a, 2, text(text(nil, 1, strings.ToLower(name)), 2, v))
		}
	}
	a = text(a, 3, r.Host)
	a = bytesOf(a, 4, text(text(text(text(nil, 1, e.what.Namespace), 2, e.what.Env["INGRESS_NAME"]), 3, e.what.Env["SERVICE_NAME"]), 4, e.what.Name))
	if s := r.TLS; s != nil {
		t := text(text(text(text(nil, 1, tlsVersion(s)), 2, s.NegotiatedProtocol), 3, s.ServerName), 4, tls.CipherSuiteName(s.CipherSuite))
		for _, c := range s.PeerCertificates {
			t = text(t, 5, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
		}
		a = bytesOf(a, 5, t)
	}
	return bytesOf(bytesOf(nil, 1, a), 2, nil)
}

func text(b []byte, field protowire.Number, value string) []byte {
	if value == "" {
		return b // as its absence
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), value)
}

func bytesOf(b []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), value)
}
