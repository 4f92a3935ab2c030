package rotatortest

import (
	"fmt"
	"testing"

	"github.com/keywright/keywright/internal/rotator"
)

// keys is a target that makes its values by itself, with one account.
type keys struct {
	*fixture
	creator rotator.Creator
	// old is in use; order is what Create gets.
	old   rotator.Credential
	order rotator.Change
}

// creating runs the cases of targets that make the values: two named keys, or several with ids.
func (s *suite) creating(t *testing.T, strategy rotator.Strategy) {
	if _, ok := s.Rotator.(rotator.Creator); !ok {
		t.Fatalf("the subject asks for %s and the rotator creates nothing", strategy)
	}
	t.Run("preflight refuses", func(t *testing.T) { s.preflightRefuses(t, strategy) })
	t.Run("whole path", func(t *testing.T) {
		k := s.keys(s.fixture(t), strategy)
		for turn := range turns {
			when := fmt.Sprintf("turn %d", turn+1)
			_, err := k.preflight(k.ctx(), k.target, rotator.Plan{Strategy: strategy, Accounts: []string{k.old.Account}, Current: &k.old, Next: k.order.Credential})
			k.must(err, when+": Preflight")
			created := k.create(when)
			k.want(created, true, when+", created: the new key")
			k.want(k.old, true, when+", created: the old key")
			k.verdict(created, rotator.Accepted, when+", created")
			k.finish(created, when)
			k.verdict(k.old, rotator.Accepted, when+", revoked: the key in use")
		}
		k.disconnected()
	})
	for _, kind := range []Kind{LoseReply, CutRequest} {
		t.Run(kind.String(), func(t *testing.T) {
			s.skip(t, len(s.Endpoints) == 0, "endpoints")
			t.Run("Create", func(t *testing.T) {
				s.everyRequest(t, kind, func(t *testing.T, f *fixture, fault *Fault) bool {
					proxy := fault.proxy
					proxy.Heal() // the fault is for Create
					return s.keys(f, strategy).hurtCreate(func() *Fault { return proxy.Fail(kind, fault.request) })
				})
			})
			t.Run("Revoke", func(t *testing.T) {
				s.everyRequest(t, kind, func(t *testing.T, f *fixture, fault *Fault) bool {
					proxy := fault.proxy
					proxy.Heal()
					k := s.keys(f, strategy)
					created := k.create("before the loss")
					fault = proxy.Fail(kind, fault.request)
					return k.hurtRevoke(created, fault)
				})
			})
		})
	}
	t.Run("target down", func(t *testing.T) {
		s.skip(t, len(s.Endpoints) == 0, "endpoints")
		k := s.keys(s.fixture(t), strategy)
		for _, p := range k.proxies {
			p.Down()
		}
		_, err := k.creator.Create(k.ctx(), k.target, k.order)
		k.cleanError("Create", err)
		k.class(err, "Create", rotator.NotApplied)
		if _, err := k.creator.Slots(k.ctx(), k.target, k.old.Account); err == nil {
			t.Error("Slots of a target that is down is a list and no error")
		}
		k.heal()
		k.want(k.old, true, "after the target was down: the old key")
	})
}

// keys makes an account and finds the slot that is free to change.
func (s *suite) keys(f *fixture, strategy rotator.Strategy) *keys {
	f.t.Helper()
	k := &keys{fixture: f, creator: s.Rotator.(rotator.Creator), old: s.Make(f.t, 1)[0]}
	k.aim(strategy)
	return k
}

// aim makes the order for the key after the one in use.
func (k *keys) aim(strategy rotator.Strategy) {
	k.t.Helper()
	old := k.old
	k.order = rotator.Change{Credential: rotator.Credential{Account: old.Account}, Keep: &old}
	if strategy != rotator.TwoKey {
		return
	}
	for _, slot := range k.slots() {
		if slot.Slot != old.Slot {
			k.order.Slot = slot.Slot
		}
	}
	if k.order.Slot == "" {
		k.t.Fatal("Slots shows no second slot")
	}
}

func (k *keys) slots() []rotator.Slot {
	k.t.Helper()
	slots, err := k.creator.Slots(k.ctx(), k.target, k.old.Account)
	k.cleanError("Slots", err)
	k.must(err, "Slots")
	return slots
}

// create must succeed. Its value is a canary from now on.
func (k *keys) create(when string) rotator.Credential {
	k.t.Helper()
	c, err := k.creator.Create(k.ctx(), k.target, k.order)
	k.cleanError("Create", err)
	k.must(err, when+": Create")
	if len(c.Value) == 0 || c.Account != k.order.Account || c.Slot != k.order.Slot || c.Slot == "" && c.KeyID == "" {
		k.t.Fatalf("%s: Create returned no whole credential: account %q, slot %q, id %q, %d bytes", when, c.Account, c.Slot, c.KeyID, len(c.Value))
	}
	k.s.secrets.add(c.Value)
	if _, ok := k.find(c); !ok {
		k.t.Errorf("%s: Slots does not show the key that Create made", when)
	}
	return c
}

// find looks for a credential among the slots.
func (k *keys) find(c rotator.Credential) (rotator.Slot, bool) {
	k.t.Helper()
	for _, slot := range k.slots() {
		if slot.Slot == c.Slot && (c.KeyID == "" || slot.KeyID == c.KeyID) && !slot.Disabled {
			return slot, true
		}
	}
	return rotator.Slot{}, false
}

// finish revokes the old key, twice, and makes the new one the old.
func (k *keys) finish(created rotator.Credential, when string) {
	k.t.Helper()
	for range 2 {
		k.must(k.revoke(k.ctx(), k.target, rotator.Change{Credential: k.old, Keep: &created}), when+": Revoke")
		k.want(created, true, when+", revoked: the new key")
		k.want(k.old, false, when+", revoked: the old key")
	}
	slot := k.order.Slot
	k.old = created
	if slot == "" {
		k.aim(rotator.NKeys)
	} else {
		k.aim(rotator.TwoKey)
	}
}

// hurtCreate: whatever gets lost, the old key lives, and the slots show what to do.
func (k *keys) hurtCreate(fail func() *Fault) (again bool) {
	k.t.Helper()
	before := map[string]bool{}
	for _, slot := range k.slots() {
		before[slot.KeyID+" "+string(slot.Value.Reveal())] = true
	}
	fault := fail()
	created, err := k.creator.Create(k.ctx(), k.target, k.order)
	k.cleanError("Create", err)
	hit := fault.WasHit()
	k.heal()
	k.want(k.old, true, "after the loss: the old key")
	if err != nil {
		if class := rotator.ClassOf(err); class != rotator.Doubt && class != rotator.NotApplied && class != rotator.Busy {
			k.t.Errorf("a broken connection has class %v: %v", class, err)
		}
		for _, slot := range k.slots() {
			if before[slot.KeyID+" "+string(slot.Value.Reveal())] || slot.Slot != k.order.Slot {
				continue
			}
			if rotator.ClassOf(err) == rotator.NotApplied {
				k.t.Errorf("the target made a key and the error says that it did not: %v", err)
			}
			if len(slot.Value) > 0 {
				created = slot.Credential // the target shows it: nothing is lost
			} else if slot.KeyID != "" {
				orphan := rotator.Change{Credential: slot.Credential, Keep: k.order.Keep}
				k.must(k.revoke(k.ctx(), k.target, orphan), "Revoke of a key whose value got lost")
			}
		}
		if len(created.Value) == 0 {
			created = k.create("again after the loss")
		}
	}
	k.want(created, true, "in the end: the new key")
	k.want(k.old, true, "in the end: the old key")
	return hit
}

func (k *keys) hurtRevoke(created rotator.Credential, fault *Fault) (again bool) {
	k.t.Helper()
	err := k.revoke(k.ctx(), k.target, rotator.Change{Credential: k.old, Keep: &created})
	hit := fault.WasHit()
	k.heal()
	k.want(created, true, "after the loss: the new key")
	var partial bool
	remains := k.acceptsSomewhere(k.old, &partial)
	k.honest(err, hit, !remains, partial)
	k.finish(created, "after the loss")
	return hit
}
