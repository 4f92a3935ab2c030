package ldap

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/internal/rotator"
)

// maxSteps bounds a change: a few modifications, and each time somebody else came in between.
const maxSteps = 20

// Set gives the account the value, beside the one to keep.
func (*Rotator) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	cfg, err := parse(t.Config)
	if err != nil {
		return rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
	}
	if len(c.Value) == 0 || c.Keep != nil && len(c.Keep.Value) == 0 {
		return rotator.Fail(rotator.Refused, nil, "an empty password would let anybody in as anonymous")
	}
	if cfg.Shape == activeDirectory {
		return cfg.setUnicode(ctx, t.Admin, c)
	}
	s, err := cfg.administer(ctx, cfg.WriteEndpoint, t.Admin)
	if err != nil {
		return err
	}
	defer s.close()
	hash := schemes[cfg.Hash]
	return s.change(cfg.dn(c.Account), func(stored []string) (*step, error) {
		if c.Keep == nil {
			return only(stored, c.Value.Reveal(), hash), nil
		}
		return both(stored, c.Value.Reveal(), c.Keep.Value.Reveal(), hash), nil
	})
}

// Revoke takes exactly the value away from the account, or all of them when there is none to keep.
func (*Rotator) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	if c.Keep != nil && len(c.Keep.Value) == 0 {
		return rotator.Fail(rotator.Refused, nil, "the password of %q to keep is empty: it would be one for anybody", c.Account)
	}
	cfg, err := parse(t.Config)
	if err != nil {
		return rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
	}
	if cfg.Shape == activeDirectory {
		return cfg.revokeUnicode(ctx, t.Admin, c)
	}
	s, err := cfg.administer(ctx, cfg.WriteEndpoint, t.Admin)
	if err != nil {
		return err
	}
	defer s.close()
	err = s.change(cfg.dn(c.Account), func(stored []string) (*step, error) {
		if c.Keep == nil {
			return &step{replace: nobodys(), last: true}, nil
		}
		return without(stored, c, schemes[cfg.Hash])
	})
	if isAbsent(err) {
		return nil
	}
	return err
}

// step is one modification of userPassword, by one value: a password policy (slapo-ppolicy) refuses two at once, and takes a deletion beside an addition for a
// person's own change that has to bring the old password in clear. A nil step is the end.
type step struct {
	add, delete, replace string
	// last is true when nothing is left to do after it.
	last bool
}

// only makes the value the only one.
func only(stored []string, value []byte, hash func([]byte) string) *step {
	if len(stored) == 1 && compare(stored[0], value) == fits {
		return nil
	}
	return &step{replace: hash(value), last: true}
}

// both makes the two values the only ones: first it adds what is missing, then it deletes the rest, so that nothing is refused on the way. A value in an unknown
// scheme goes: it is neither, or it is one of the two, which is added.
func both(stored []string, value, keep []byte, hash func([]byte) string) *step {
	has := func(v []byte) int {
		return slices.IndexFunc(stored, func(s string) bool { return compare(s, v) == fits })
	}
	i, k := has(value), has(keep)
	if k < 0 {
		return &step{add: hash(keep)}
	}
	if i < 0 {
		return &step{add: hash(value), last: len(stored) == 1}
	}
	for j, s := range stored {
		if j != i && j != k {
			return &step{delete: s, last: len(stored) == 3}
		}
	}
	return nil
}

// without deletes the value, and makes sure that the one to keep is there before. Others stay as they are.
func without(stored []string, c rotator.Change, hash func([]byte) string) (*step, error) {
	var old []string
	kept, unknown := false, false
	for _, s := range stored {
		is := compare(s, c.Value.Reveal())
		unknown = unknown || is == unreadable
		if is == fits {
			old = append(old, s)
		}
		kept = kept || compare(s, c.Keep.Value.Reveal()) == fits
	}
	switch {
	case !kept:
		return &step{add: hash(c.Keep.Value.Reveal())}, nil
	case len(old) > 0 && !bytes.Equal(c.Value.Reveal(), c.Keep.Value.Reveal()):
		return &step{delete: old[0], last: len(old) == 1}, nil
	case unknown && len(old) == 0:
		return nil, rotator.Fail(rotator.Misconfigured, nil,
			"%q has a password in a scheme that cannot be compared, so whether it is the one to revoke is unknown: delete that value of userPassword by hand", c.Account)
	}
	return nil, nil
}

// change makes one step after the other, each only if nothing has changed since the entry was read. For an entry that is absent, isAbsent holds.
func (s *session) change(dn string, next func(stored []string) (*step, error)) error {
	for range maxSteps {
		e, err := s.entry(dn, "userPassword", "entryCSN")
		if err != nil {
			return s.failure(err, rotator.NotApplied, "reading %q", dn)
		}
		todo, err := next(e.GetAttributeValues("userPassword"))
		if err != nil || todo == nil {
			return err
		}
		err = s.Modify(todo.request(dn, e.GetAttributeValue("entryCSN")))
		switch n := code(err); {
		case n == ldap.LDAPResultAssertionFailed, n == ldap.LDAPResultNoSuchAttribute, n == ldap.LDAPResultAttributeOrValueExists:
		case err != nil:
			return s.failure(err, rotator.Doubt, "changing the password of %q", dn)
		case todo.last:
			return nil
		}
	}
	return rotator.Fail(rotator.Busy, nil, "the entry %q at %s was changed by somebody else each time: find out who else manages it", dn, s.address)
}

// request is the modification. A server that does not show the entry's change sequence number cannot be asked to look at it.
func (t *step) request(dn, sequence string) *ldap.ModifyRequest {
	m := ldap.NewModifyRequest(dn, nil)
	if sequence != "" {
		m.Controls = []ldap.Control{assertion{"(entryCSN=" + ldap.EscapeFilter(sequence) + ")"}}
	}
	switch {
	case t.replace != "":
		m.Replace("userPassword", []string{t.replace})
	case t.add != "":
		m.Add("userPassword", []string{t.add})
	default:
		m.Delete("userPassword", []string{t.delete})
	}
	return m
}

// isAbsent reports whether an entry does not exist.
func isAbsent(err error) bool {
	var r result
	return errors.As(err, &r) && r == ldap.LDAPResultNoSuchObject
}
