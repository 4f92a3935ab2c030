package door

import (
	"net/http"
	"strings"
	"time"
)

// EventStream is the media type of server-sent events (WHATWG HTML, section 9.2).
const EventStream = "text/event-stream"

// eventTimeout is how long a client may take to accept what is written to its stream. Who reads slower than that is cut off, and resumes
// when it comes again.
const eventTimeout = 10 * time.Second

// Events is an answer of server-sent events. What is added to it goes out with Flush.
type Events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buf     []byte
	timeout time.Duration
}

// Events begins an answer of server-sent events. It lasts beyond the bound of the server for answers; each Flush has its
// own.
func (r *Request) Events(now time.Time) *Events {
	r.written, r.status, r.opened = true, http.StatusOK, max(1, now.Sub(r.Call.Started))
	r.Leave()
	h := r.w.Header()
	h.Set("Content-Type", EventStream)
	h.Set("X-Accel-Buffering", "no") // what nginx knows; other proxies do not hold back this media type
	e := &Events{w: r.w, control: http.NewResponseController(r.w), timeout: eventTimeout}
	r.w.WriteHeader(http.StatusOK)
	return e
}

// Event adds an event. The id is what a client resumes with; without one it keeps the last. Data is one line, as JSON is.
func (e *Events) Event(id, kind string, data []byte) {
	e.Mark(id)
	e.buf = append(e.buf, "event: "...)
	e.buf = append(e.buf, kind...)
	e.buf = append(e.buf, "\ndata: "...)
	e.buf = append(e.buf, data...)
	e.buf = append(e.buf, "\n\n"...)
}

// Mark adds an id that goes with what follows; with nothing behind it but End, it moves the place to resume without an event.
func (e *Events) Mark(id string) {
	if id != "" && !strings.ContainsAny(id, "\r\n\x00") {
		e.buf = append(e.buf, "id: "...)
		e.buf = append(e.buf, id...)
		e.buf = append(e.buf, '\n')
	}
}

// End closes a block.
func (e *Events) End() { e.buf = append(e.buf, '\n') }

// Comment adds a line that clients pass over; it keeps the connection alive.
func (e *Events) Comment(text string) {
	e.buf = append(e.buf, ": "...)
	e.buf = append(e.buf, text...)
	e.buf = append(e.buf, "\n\n"...)
}

// Flush sends what was added. An error is the stream's end.
func (e *Events) Flush() error {
	if err := e.control.SetWriteDeadline(time.Now().Add(e.timeout)); err != nil {
		return err
	}
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	if err != nil {
		return err
	}
	return e.control.Flush()
}
