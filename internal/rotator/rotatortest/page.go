package rotatortest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/rotator"
)

// Page reads the page for operators, a file of docs/rotators: it has so many configurations, each of which is right, explains every member, and says
// of every system that it is verified, or that none is.
func Page(t *testing.T, r rotator.Rotator, file string, configurations int) {
	t.Helper()
	read, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "rotators", file))
	if err != nil {
		t.Fatal(err)
	}
	text := string(read)
	found := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(found) != configurations {
		t.Fatalf("the page has %d configurations, want %d", len(found), configurations)
	}
	for _, example := range found {
		// A certificate is too long for a page.
		whole := strings.ReplaceAll(example[1], `"ca": "-----BEGIN CERTIFICATE-----\n…"`, `"serverName": "db.example"`)
		if err := r.Check(json.RawMessage(whole)); err != nil {
			t.Errorf("%s: %v", example[1], err)
		}
	}
	d := r.Describe()
	for _, m := range d.Config {
		if !strings.Contains(text, "| `"+m.Name+"` |") {
			t.Errorf("the page does not explain %s", m.Name)
		}
	}
	for _, s := range d.Verified {
		if !strings.Contains(text, s.Product+" "+s.Version) {
			t.Errorf("the page does not say that %s %s is verified", s.Product, s.Version)
		}
	}
	if len(d.Verified) == 0 && !strings.Contains(strings.ToLower(text), "not verified") {
		t.Error("the page does not say that no real system was tried")
	}
}
