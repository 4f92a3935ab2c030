package rotation_test

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
)

// What an ancestor waited for may be gone: only a dependency of one's own has to be there.
func TestDependenciesOfAncestorsMayBeGone(t *testing.T) {
	w := newWorld(t)
	chained := func(name, parent string) error {
		p := policyFor(rotator.Alternating)
		if parent != "" {
			p.DependsOn = []rotation.Reference{{Name: parent}}
		}
		return w.service(w.engine).SetPolicy(w.Ctx, w.Call(w.caller), name, &p)
	}
	for _, name := range []string{"grandparent", "parent", "child"} {
		w.database(name, policyFor(rotator.Alternating))
	}
	must(t, chained("parent", "grandparent"))
	_, err := w.secrets.Delete(w.Ctx, w.Call(w.caller), "grandparent")
	must(t, err)
	must(t, chained("child", "parent"))
	if err := chained("child", "grandparent"); err == nil {
		t.Error("a policy waits for a secret that is not there")
	}
	if err := chained("parent", "child"); err == nil || !strings.Contains(err.Error(), "wait for itself") {
		t.Errorf("a ring beside what is gone: %v", err)
	}
}
