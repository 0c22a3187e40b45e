package controlplane

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// Event is a Kubernetes Event that was recorded instead of stored.
type Event struct {
	Regarding corev1.ObjectReference
	Type      string // Normal, Warning
	Reason    string
	Message   string
	Reporter  string // the component
}

// isEventWrite tells requests that record Events: creations and patches of series, in either API group.
func isEventWrite(r *http.Request) bool {
	if r.Method != http.MethodPost && r.Method != http.MethodPatch && r.Method != http.MethodPut {
		return false
	}
	path := strings.TrimSuffix(r.URL.Path, "/")
	if !strings.HasPrefix(path, "/api/v1/namespaces/") && !strings.HasPrefix(path, "/apis/events.k8s.io/v1/namespaces/") {
		return false
	}
	return strings.HasSuffix(path, "/events") || strings.Contains(path, "/events/")
}

// takeEvent answers the write as the API server would and hands the Event to the observer. A patch, with which clients
// count up a series, is answered "not found": they then create the Event anew.
func (w *wire) takeEvent(req *http.Request) (*http.Response, error) {
	reply := func(code int, kind string, b []byte) *http.Response {
		return &http.Response{StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/2.0", ProtoMajor: 2, Request: req,
			Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(bytes.NewReader(b)), ContentLength: int64(len(b))}
	}
	defer closeBody(req)
	if req.Method == http.MethodPatch {
		return reply(http.StatusNotFound, "text/plain", nil), nil
	}
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(b, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("decoding an Event: %w", err)
	}
	w.events(eventOf(obj))
	return reply(http.StatusCreated, req.Header.Get("Content-Type"), b), nil
}

func eventOf(obj runtime.Object) Event {
	switch e := obj.(type) {
	case *corev1.Event:
		reporter := e.ReportingController
		if reporter == "" {
			reporter = e.Source.Component
		}
		return Event{Regarding: e.InvolvedObject, Type: e.Type, Reason: e.Reason, Message: e.Message, Reporter: reporter}
	case *eventsv1.Event:
		return Event{Regarding: e.Regarding, Type: e.Type, Reason: e.Reason, Message: e.Note, Reporter: e.ReportingController}
	}
	return Event{}
}
