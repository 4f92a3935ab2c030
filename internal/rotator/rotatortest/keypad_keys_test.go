package rotatortest_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// keypadKeys is the rotator of the keypad's own keys: the system makes the values.
type keypadKeys struct{ keypadRotator }

func (r *keypadKeys) Describe() rotator.Description {
	d := r.keypadRotator.Describe()
	d.Name, d.Strategies = "keypad-keys", []rotator.Strategy{rotator.TwoKey}
	return d
}

func (r *keypadKeys) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	if p.Strategy != rotator.TwoKey {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "keypad keys have the strategy two-key and no other")
	}
	p.Strategy = rotator.Single // one account, like that
	return r.keypadRotator.Preflight(ctx, t, p)
}

func (r *keypadKeys) regenerate(ctx context.Context, t *rotator.Target, account, slot string) (redact.Bytes, error) {
	c, err := r.config(t.Config)
	if err != nil {
		return nil, err
	}
	var value string
	err = r.call(ctx, c, t.Admin, "POST", "/accounts/"+url.PathEscape(account)+"/keys/"+slot, nil, &value)
	return redact.Bytes(value), err
}

func (r *keypadKeys) Create(ctx context.Context, t *rotator.Target, c rotator.Change) (rotator.Credential, error) {
	slot := c.Slot
	if r.broken == "wrong slot" {
		slot = c.Keep.Slot
	}
	value, err := r.regenerate(ctx, t, c.Account, slot)
	if err != nil {
		return rotator.Credential{}, err
	}
	return rotator.Credential{Account: c.Account, Slot: c.Slot, Value: value}, nil
}

func (r *keypadKeys) Slots(ctx context.Context, t *rotator.Target, name string) ([]rotator.Slot, error) {
	c, err := r.config(t.Config)
	if err != nil {
		return nil, err
	}
	var a account
	if err := r.call(ctx, c, t.Admin, "GET", "/accounts/"+url.PathEscape(name), nil, &a); err != nil {
		return nil, err
	}
	var slots []rotator.Slot
	for slot, value := range a.Account.Keys {
		slots = append(slots, rotator.Slot{Credential: rotator.Credential{Account: name, Slot: slot, Value: redact.Bytes(value)}})
	}
	return slots, nil
}

// Revoke kills a value by making another in its slot, if it is still there.
func (r *keypadKeys) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	slots, err := r.Slots(ctx, t, c.Account)
	if answered(err, http.StatusNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	for _, slot := range slots {
		if slot.Slot == c.Slot && (string(slot.Value) == string(c.Value)) {
			_, err := r.regenerate(ctx, t, c.Account, c.Slot)
			return err
		}
	}
	return nil
}

func keypadKeysSubject(t *testing.T, broken string) rotatortest.Subject {
	r := &keypadKeys{keypadRotator{broken: broken}}
	s := keypadSubject(t, r)
	s.Strategies = []rotator.Strategy{rotator.TwoKey}
	made := s.Make
	s.Make = func(t *testing.T, n int) []rotator.Credential {
		accounts := made(t, n)
		for i, a := range accounts {
			slots, err := r.Slots(t.Context(), s.Target(t, s.Endpoints), a.Account)
			if err != nil {
				t.Fatal(err)
			}
			for _, slot := range slots {
				if slot.Slot == "key1" {
					accounts[i] = slot.Credential
				}
			}
		}
		return accounts
	}
	return s
}

func TestKeypadKeys(t *testing.T) { rotatortest.Run(t, keypadKeysSubject(t, "")) }
