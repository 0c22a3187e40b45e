package proxy

import (
	"net/http"
	"net/textproto"
	"sync"

	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// interims are the 1xx responses of a backend in HTTP/2 on their way to the client. They come on the goroutine that reads all
// streams of the backend's connection, so a goroutine of their own sends them: a client that does not read holds up nobody
// else.
type interims struct {
	client client

	mu      sync.Mutex
	waiting []interim
	sent    chan struct{} // closed when all are sent that wait; nil = nothing is being sent
	count   int
	tooMany bool
	over    bool // the answer is there: none are sent any more
	err     error
}

type interim struct {
	status  int
	headers []match.Header
}

// got is a httptrace.ClientTrace's Got1xxResponse. 100 Continue is the gateway's own to say.
func (i *interims) got(status int, headers textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.count++; i.count > interimMax {
		i.tooMany = true
		return errInterim
	}
	if i.over || status == http.StatusContinue {
		return nil
	}
	one := interim{status: status}
	one.headers, _ = fromMap(nil, nil, http.Header(headers))
	i.waiting = append(i.waiting, one)
	if i.sent == nil {
		i.sent = make(chan struct{})
		go i.send()
	}
	return nil
}

// send what waits, until nothing does.
func (i *interims) send() {
	for {
		i.mu.Lock()
		if len(i.waiting) == 0 || i.err != nil {
			close(i.sent)
			i.sent = nil
			i.mu.Unlock()
			return
		}
		one := i.waiting[0]
		i.waiting = i.waiting[1:]
		i.mu.Unlock()
		err := i.client.inform(one.status, one.headers)
		i.mu.Lock()
		i.err = err
		i.mu.Unlock()
	}
}

// end waits until all that came are sent. From then on the client is its caller's again.
func (i *interims) end() (tooMany bool, err error) {
	i.mu.Lock()
	i.over = true
	sent := i.sent
	i.mu.Unlock()
	if sent != nil {
		<-sent
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.tooMany, i.err
}
