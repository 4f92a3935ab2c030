package authz

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// The data actions of Key Vault, from "Azure permissions for Security", written out apart from the table.
const azureDataActions = `
secrets/getSecret/action secrets/setSecret/action secrets/readMetadata/action secrets/update/action secrets/backup/action
secrets/restore/action secrets/recover/action secrets/purge/action secrets/delete
keys/read keys/create/action keys/import/action keys/update/action keys/recover/action keys/restore/action keys/backup/action
keys/purge/action keys/encrypt/action keys/decrypt/action keys/wrap/action keys/unwrap/action keys/sign/action
keys/verify/action keys/release/action keys/rotate/action keys/delete
keyrotationpolicies/read keyrotationpolicies/write
certificates/read certificates/create/action certificates/import/action certificates/update/action certificates/recover/action
certificates/restore/action certificates/backup/action certificates/purge/action certificates/delete
certificatecas/read certificatecas/write certificatecas/delete certificatecontacts/write`

func TestTableHoldsEveryDataActionAndNoOther(t *testing.T) {
	want := make(map[string]bool)
	for _, suffix := range strings.Fields(azureDataActions) {
		want["Microsoft.KeyVault/vaults/"+suffix] = true
	}
	have := make(map[string]bool)
	for _, a := range Actions() {
		if a.Plane() == Data {
			have[a.String()] = true
		}
	}
	for name := range want {
		if !have[name] {
			t.Errorf("%s is missing", name)
		}
	}
	for name := range have {
		if !want[name] && !strings.HasPrefix(name, "Keywright/vaults/") {
			t.Errorf("%s is not a data action of Key Vault", name)
		}
	}
}

// spareActions is how many values of an Action must be free. It fails while there is still time: beyond the last one the table of actions does not compile.
const spareActions = 8

func TestActionsHaveRoom(t *testing.T) {
	if words := len(Set{}); words*64 != maxActions || int(^Action(0)) != maxActions-1 {
		t.Fatalf("a Set has %d words of 64 bits, an Action is at most %d, and maxActions is %d: they must go together", words, ^Action(0), maxActions)
	}
	if free := maxActions - len(table); free < spareActions {
		t.Fatalf("the table of actions takes %d of the %d values of an Action, so that only %d are free: make Set and Action wider, maxActions with them, before there are more",
			len(table), maxActions, free)
	}
}

func TestTableIsWhole(t *testing.T) {
	if len(Actions()) == 0 {
		t.Fatal("no actions")
	}
	for _, a := range Actions() {
		r := table[a]
		if r.name == "" {
			t.Errorf("action %d has no row", a)
			continue
		}
		// Nobody approves by a policy: its words do not keep those who change apart from those who approve.
		if (r.plane == Data && r.duty != CanApprove) != (len(r.words) > 0) {
			t.Errorf("%s: data actions, and only they, have an access-policy permission", a)
		}
		if r.plane == Data && !strings.Contains(a.String(), "/vaults/"+string(r.kind)) && r.kind != vault.Key && !strings.HasPrefix(a.String(), "Keywright/") {
			t.Errorf("%s is not about a %s", a, r.kind)
		}
		for _, w := range r.words {
			if !strings.Contains(" "+strings.Join(words[string(r.kind)+"s"], " ")+" ", " "+w+" ") {
				t.Errorf("%s: %q is not a permission of %ss", a, w, r.kind)
			}
		}
	}
}

func TestEveryPolicyWordAllowsSomething(t *testing.T) {
	for _, kind := range []vault.Kind{vault.Secret, vault.Key, vault.Certificate} {
		for _, word := range words[string(kind)+"s"] {
			var p vault.AccessPolicy
			switch kind {
			case vault.Secret:
				p.Secrets = []string{strings.ToUpper(word)}
			case vault.Key:
				p.Keys = []string{strings.ToUpper(word)}
			case vault.Certificate:
				p.Certificates = []string{strings.ToUpper(word)}
			}
			if PolicyAllows(&p).Empty() {
				t.Errorf("%ss %s allows nothing", kind, word)
			}
		}
	}
}

func TestParseAction(t *testing.T) {
	for _, a := range Actions() {
		got, err := ParseAction(strings.ToUpper(a.String()))
		if err != nil || !strings.EqualFold(got.String(), a.String()) {
			t.Errorf("ParseAction(%s) = %v, %v", a, got, err)
		}
	}
	got, err := ParseAction("Microsoft.KeyVault/vaults/keys/encrypt/action")
	if err != nil || got != KeyEncrypt {
		t.Errorf("encrypt = %d, %v: of two actions of one name the stricter is meant", got, err)
	}
	_, err = ParseAction("Microsoft.KeyVault/vaults/secrets/getSecrets/action")
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "did you mean Microsoft.KeyVault/vaults/secrets/getSecret/action") {
		t.Errorf("error = %v", err)
	}
	if a, err := ParseAction(""); a != NoAction || !fault.Is(err, fault.Invalid) {
		t.Errorf("no name is action %d, %v", a, err)
	}
	if _, err = ParseAction("x"); !fault.Is(err, fault.Invalid) {
		t.Errorf("error = %v", err)
	}
}

func TestUnknownActionIsInert(t *testing.T) {
	for _, a := range []Action{NoAction, Action(len(table)), 200, maxActions - 1} {
		if a.Known() || a.Duty() != NoDuty || a.Permission() != "" || a.Kind() != "" || a.String() != "unknown action" {
			t.Errorf("action %d is not inert", a)
		}
		if SetOf(a).Has(a) || !SetOf(a).Empty() {
			t.Errorf("a set holds action %d", a)
		}
	}
}

func TestSet(t *testing.T) {
	s := SetOf(SecretGet, TrustedIssuerDelete, KeySign)
	if s.Len() != 3 || !s.Has(SecretGet) || !s.Has(TrustedIssuerDelete) || s.Has(SecretSet) {
		t.Errorf("set = %v", s.Actions())
	}
	if got := s.Minus(SetOf(SecretGet)).Union(SetOf(SecretSet)).Intersect(SetOf(SecretSet, KeySign)).Actions(); len(got) != 2 || got[0] != SecretSet || got[1] != KeySign {
		t.Errorf("set algebra = %v", got)
	}
	if !(Set{}).Empty() || s.Empty() {
		t.Error("Empty is wrong")
	}
	// The last value is in none of the words that the table reaches today, and must count all the same.
	edge := Set{3: 1 << 63}
	if !edge.Has(maxActions-1) || edge.Has(63) || edge.Empty() || edge.Len() != 1 || edge.Union(s).Len() != 4 || edge.Union(s).Minus(s) != edge || edge.Intersect(edge) != edge {
		t.Error("the last word of a set does not count")
	}
}
