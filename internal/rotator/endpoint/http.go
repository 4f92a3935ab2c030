package endpoint

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// Answer is what came back over HTTP.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Exchange makes one HTTP request on a connection of its own, which is closed again, and reads an answer of at most most bytes. Redirects are answers:
// following one could carry a credential elsewhere. Proxies of the environment are not used. sent is false when nothing but a handshake left this
// process, so that nothing can have happened.
func Exchange(request *http.Request, settings *tls.Config, most int64) (answer *Answer, sent bool, err error) {
	ctx := request.Context()
	dial := func(settings *tls.Config) func(context.Context, string, string) (net.Conn, error) {
		return func(_ context.Context, _, address string) (net.Conn, error) { return Dial(ctx, address, settings) }
	}
	if settings == nil {
		settings = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	transport := &http.Transport{DialContext: dial(nil), DialTLSContext: dial(settings), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	response, err := transport.RoundTrip(request.WithContext(traced))
	if err != nil {
		return nil, connected.Load(), err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err == nil && int64(len(body)) > most {
		err = fmt.Errorf("the answer has more than %d bytes", most)
	}
	if err != nil {
		return nil, true, err
	}
	return &Answer{Status: response.StatusCode, Header: response.Header, Body: body}, true, nil
}
