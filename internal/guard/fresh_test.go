package guard_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/vault"
)

// ageing is an installation whose node is as far behind as age says.
func ageing(t *testing.T, age *time.Duration, late *int) *guardtest.World {
	w := guardtest.New(t, guardtest.Options{})
	w.Guard.Age = func() time.Duration { return *age }
	w.Guard.Late = func() { *late++ }
	return w
}

func TestNodeBehindFailsClosed(t *testing.T) {
	var age time.Duration
	late := 0
	w := ageing(t, &age, &late)
	c := w.Caller(authz.VaultAdministrator)
	for _, step := range []struct {
		age   time.Duration
		stale time.Duration
		need  guard.Need
		want  bool
	}{
		{age: guard.MaxAge - 1, need: guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: "a"}, want: true},
		{age: guard.MaxAge, need: guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: "a"}},
		{age: guard.MaxAge, stale: time.Minute, need: guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: "a"}, want: true},
		{age: time.Minute - 1, stale: time.Minute, need: guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: "a"}, want: true},
		{age: time.Minute, stale: time.Minute, need: guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: "a"}},
		// Everything but reads of secrets stays closed.
		{age: guard.MaxAge, stale: time.Minute, need: guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: "a"}},
		{age: guard.MaxAge, stale: time.Minute, need: guard.Need{Action: authz.SecretList, Kind: vault.Secret}},
		{age: guard.MaxAge, stale: time.Minute, need: guard.Need{Action: authz.KeySign, Kind: vault.Key, Name: "a"}},
		{age: guard.MaxAge, stale: time.Minute, need: guard.Need{Action: authz.VaultRead, Scope: w.Vault.Scope()}},
		{age: guard.Forever, stale: time.Hour, need: guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: "a"}},
	} {
		age = 0
		w.EditVault(func(v *vault.Vault) { v.StaleFor = step.stale })
		call, need, before := w.Call(c), step.need, late
		age = step.age
		err := w.Guard.Read(t.Context(), call, &need, func() error { return nil })
		if step.want {
			if err != nil {
				t.Errorf("%s behind, stale for %s: %v %q: %v", step.age, step.stale, step.need.Action, step.need.Name, err)
			}
			continue
		}
		e := fault.As(err)
		if e == nil || e.Kind != fault.Unavailable || e.Reason != guard.Behind || e.RetryAfter <= 0 {
			t.Errorf("%s behind, stale for %s: %v = %v, want unavailable", step.age, step.stale, step.need.Action, err)
		}
		if replaced := strings.Contains(err.Error(), "another process is this node"); replaced != (step.age == guard.Forever) {
			t.Errorf("%s behind: %v", step.age, err)
		}
		if late != before+1 {
			t.Errorf("%d refusals were counted, want %d", late, before+1)
		}
	}
}

// The age is that of the beginning: a node that catches up between a look at its caches and the decision must not take the look for a fresh one.
func TestAgeIsThatOfTheBeginning(t *testing.T) {
	age, late := time.Hour, 0
	w := ageing(t, &age, &late)
	call := w.Call(w.Caller(authz.VaultAdministrator))
	w.Guard.Begin(call)
	age = 0
	need := guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: "a"}
	if err := w.Guard.Authorize(t.Context(), call, &need); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Authorize = %v, want unavailable", err)
	}
	if err := w.Guard.Renew(t.Context(), call); err != nil {
		t.Errorf("Renew on a node that has caught up = %v", err)
	}
	if err := w.Guard.Authorize(t.Context(), call, &need); err != nil {
		t.Errorf("Authorize after a new beginning = %v", err)
	}
	age = guard.MaxAge
	if err := w.Guard.Renew(t.Context(), call); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Renew on a node that is behind = %v, want unavailable", err)
	}
	err := w.Guard.List(t.Context(), w.Call(call.Caller), &guard.Need{Action: authz.VaultRead, Scope: "/"}, func(*guard.Sight) error { return nil })
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("List on a node that is behind = %v, want unavailable", err)
	}
}

// A read from memory behind the usual second is told apart in the audit log.
func TestStaleReadIsRecorded(t *testing.T) {
	var age time.Duration
	late := 0
	w := ageing(t, &age, &late)
	w.EditVault(func(v *vault.Vault) { v.StaleFor = time.Hour })
	call := w.Call(w.Caller(authz.VaultAdministrator))
	age = 90 * time.Second
	need := guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: "a"}
	if err := w.Guard.Read(t.Context(), call, &need, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	list := w.Audit.Take()
	if got := list[len(list)-1].Detail; got != "from memory, 1m30s behind" {
		t.Errorf("the record says %q", got)
	}
}
