package client

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// serverEvent is one event of a stream (WHATWG HTML, section 9.2).
type serverEvent struct{ kind, data string }

// eventReader reads a stream of events. What it cannot use it passes over, as the standard wants it.
type eventReader struct {
	lines *bufio.Reader
	// id is the last one that the stream named: where to resume.
	id string
	// heard is called for every line, comments included; nil is not.
	heard func()
}

// Bounds of a line and of an event's data, in bytes: the server's are below one thousand.
const (
	maxEventLine = 64 << 10
	maxEventData = 256 << 10
)

var errEventTooLong = errors.New("the stream has a longer event than any server of Keywright sends")

func newEventReader(r io.Reader, heard func()) *eventReader {
	return &eventReader{lines: bufio.NewReaderSize(r, maxEventLine), heard: heard}
}

// next returns the next event that has data. The error is the connection's.
func (r *eventReader) next() (serverEvent, error) {
	var e serverEvent
	var data []string
	size := 0
	for {
		line, err := r.line()
		if err != nil {
			return serverEvent{}, err
		}
		if line == "" {
			if len(data) > 0 {
				e.data = strings.Join(data, "\n")
				return e, nil
			}
			e = serverEvent{}
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			e.kind = value
		case "data":
			if size += len(value) + 1; size > maxEventData {
				return serverEvent{}, errEventTooLong
			}
			data = append(data, value)
		case "id":
			if !strings.ContainsRune(value, 0) {
				r.id = value
			}
		}
	}
}

func (r *eventReader) line() (string, error) {
	line, err := r.lines.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errEventTooLong
	}
	if err != nil {
		return "", err // a line without an end is no line
	}
	if r.heard != nil {
		r.heard()
	}
	return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
}
