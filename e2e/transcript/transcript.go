// Package transcript keeps what a server or a program writes beside a test, for the test to read while it goes on.
package transcript

import (
	"bytes"
	"sync"
)

// Buffer is a buffer for several goroutines. The zero value is empty; a Buffer must not be copied.
type Buffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write appends p. It never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is all that was written up to now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
