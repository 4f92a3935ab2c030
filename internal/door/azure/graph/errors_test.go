package graph

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
)

func TestEveryKindIsInTheTable(t *testing.T) {
	for _, k := range fault.Kinds() {
		if w, ok := wireErrors[k]; !ok || w.status < 400 || w.code == "" {
			t.Errorf("%s is answered with %+v", k, w)
		}
	}
}

// No filter that parses makes a look-up that selects more than its kinds.
func FuzzLookups(f *testing.F) {
	f.Add("displayName eq 'x'")
	f.Add("servicePrincipalNames/any(c:c eq 'x') or startswith(displayName,'')")
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range collections {
			list, err := c.lookups(s)
			if err != nil {
				continue
			}
			for _, l := range list {
				bare := l.ID == "" && l.AppID == "" && l.UPN == "" && l.Name == "" && l.NamePrefix == ""
				if len(l.Kinds) == 0 || bare && strings.TrimSpace(s) != "" {
					t.Errorf("%q looks up %+v in %s", s, l, c.name)
				}
			}
		}
	})
}
