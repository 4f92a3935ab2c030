package native

import (
	"testing"

	"github.com/keywright/keywright/internal/fault"
)

func TestEveryKindHasAnAnswer(t *testing.T) {
	words, statuses := map[string]fault.Kind{}, map[int]fault.Kind{}
	for _, k := range fault.Kinds() {
		w, ok := wireErrors[k]
		if !ok {
			t.Errorf("the kind %q has no answer", k)
			continue
		}
		if w.status < 400 || w.title == "" || string(w.kind) != k.String() {
			t.Errorf("the kind %q is answered with %d %q %q", k, w.status, w.kind, w.title)
		}
		if other, taken := words[w.title]; taken {
			t.Errorf("the kinds %q and %q have one title", k, other)
		}
		if other, taken := statuses[w.status]; taken {
			t.Errorf("the kinds %q and %q have one status", k, other)
		}
		words[w.title], statuses[w.status] = k, k
	}
}
