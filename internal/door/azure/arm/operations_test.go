package arm

import (
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/door"
)

// absent are the operations of the published model that are not served: those of managed HSMs, of which there are none, and of private endpoints, which a network
// here does not have. Lists of them are served, and are empty.
var absent = regexp.MustCompile(`^(ManagedHsms_(CheckMhsm|GetDeleted|PurgeDeleted|CreateOrUpdate|Delete|Get|Update)|ManagedHsmKeys_|MHSM|PrivateEndpointConnections_(Get|Put|Delete))`)

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// Every operation of the Key Vault management API (2024-11-01) is routed.
func TestEveryPublishedOperationIsRouted(t *testing.T) {
	text, err := os.ReadFile("testdata/operations.txt")
	if err != nil {
		t.Fatal(err)
	}
	mux, err := door.NewMux(Table())
	if err != nil {
		t.Fatal(err)
	}
	routed := 0
	for line := range strings.Lines(string(text)) {
		parts := strings.Fields(line)
		if len(parts) != 3 {
			t.Fatalf("line %q", line)
		}
		method, path, name := parts[0], parameter.ReplaceAllString(parts[1], "one"), parts[2]
		var params door.Params
		route, _ := mux.Match(method, &url.URL{Path: path}, &params)
		switch {
		case route != nil:
			routed++
		case !absent.MatchString(name):
			t.Errorf("%s: %s %s is not routed", name, method, path)
		}
	}
	if routed < 25 {
		t.Errorf("only %d operations are routed", routed)
	}
}
