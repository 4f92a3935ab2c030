package client

import (
	"io"
	"net/http"
	"sync"
)

// body is the body of a request. It may hold a value, so it is wiped when the request is over; but a server that answers before it has read everything leaves
// the transport sending, which then finds the end.
type body struct {
	mu   sync.Mutex // guards text
	text []byte
}

func (b *body) wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.text)
	b.text = nil
}

// attach makes it the body of a request, from its beginning as often as the transport wants it.
func (b *body) attach(r *http.Request) {
	open := func() (io.ReadCloser, error) { return io.NopCloser(&bodyReader{body: b}), nil }
	r.Body, _ = open()
	r.GetBody, r.ContentLength = open, int64(len(b.text))
}

type bodyReader struct {
	*body
	at int
}

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at >= len(r.text) {
		return 0, io.EOF
	}
	n := copy(p, r.text[r.at:])
	r.at += n
	return n, nil
}
