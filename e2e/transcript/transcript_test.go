package transcript_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/e2e/transcript"
)

// The race detector watches; what is asserted is that no line is lost or torn.
func TestReadingWhileOthersWrite(t *testing.T) {
	var b transcript.Buffer
	const writers, lines = 4, 200
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range lines {
				fmt.Fprintln(&b, "a line")
				if text := b.String(); !strings.HasSuffix(text, "a line\n") {
					t.Errorf("torn: %q", text)
				}
			}
		})
	}
	all.Wait()
	if got := strings.Count(b.String(), "a line\n"); got != writers*lines {
		t.Errorf("%d lines, want %d", got, writers*lines)
	}
}
