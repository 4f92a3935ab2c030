package rotatortest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The author's guide quotes this package's example. What it quotes is there, so it compiles and passes.
func TestGuideQuotesTheExample(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/rotators/author-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("keypad_*test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	quotes := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	if len(quotes) < 5 {
		t.Fatalf("only %d quotes were found", len(quotes))
	}
	for _, q := range quotes {
		if !strings.Contains(code.String(), q[1]) {
			t.Errorf("the example has no such lines:\n%s", q[1])
		}
	}
}
