package mysql_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/rotator/mysql"
)

// The page for operators has a configuration that is right, and explains every member.
func TestPage(t *testing.T) {
	text, err := os.ReadFile("../../../docs/rotators/mysql.md")
	if err != nil {
		t.Fatal(err)
	}
	r := mysql.New()
	found := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("the page has %d configurations, want 1", len(found))
	}
	// The certificate is too long for a page.
	example := strings.Replace(string(found[0][1]), `{"ca": "-----BEGIN CERTIFICATE-----\n…"}`, `{"serverName": "db.example"}`, 1)
	if err := r.Check(json.RawMessage(example)); err != nil {
		t.Error(err)
	}
	for _, m := range r.Describe().Config {
		if !strings.Contains(string(text), "| `"+m.Name+"` |") {
			t.Errorf("the page does not explain %s", m.Name)
		}
	}
	for _, s := range r.Describe().Verified {
		if !strings.Contains(string(text), s.Product+" "+s.Version) {
			t.Errorf("the page does not say that %s %s is verified", s.Product, s.Version)
		}
	}
}
