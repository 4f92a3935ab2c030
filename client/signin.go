package client

import (
	"context"
	"fmt"

	"github.com/keywright/keywright/client/api"
)

// Attempt is one attempt to sign in at a target with one version. Exactly one of Succeeded and Failed ends it; further calls do nothing.
type Attempt struct {
	value  *Value
	secret *Secret
	// refused is the version that the target refused before this one was tried; empty for a first attempt.
	refused string
	over    bool
}

// Begin begins an attempt with the current version. For most programs SignIn is easier.
func (v *Value) Begin() *Attempt {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.begin(v.current)
}

func (v *Value) begin(s *Secret) *Attempt {
	v.open[s.Version]++
	return &Attempt{value: v, secret: s}
}

// Secret is the version to sign in with.
func (a *Attempt) Secret() *Secret { return a.secret }

// Succeeded says that the target let the program in. When no attempt with another version is under way any more, and every later one will be with this,
// it is acknowledged as used.
func (a *Attempt) Succeeded() { a.end(true) }

// Failed says that the attempt came to nothing, for whatever reason.
func (a *Attempt) Failed() { a.end(false) }

func (a *Attempt) end(good bool) {
	v := a.value
	v.mu.Lock()
	defer v.mu.Unlock()
	if a.over {
		return
	}
	a.over = true
	version := a.secret.Version
	if v.open[version]--; v.open[version] == 0 {
		delete(v.open, version)
	}
	if good {
		v.good[version] = true
		// An answer that took long says nothing against what has become current meanwhile.
		if version != v.current.Version && v.current.Version == a.refused && v.ahead == "" && hasLabel(a.secret, CandidateLabel) {
			v.ahead = v.current.Version // the target has moved on before the server says so
			v.replace(a.secret)
		}
	}
	v.settle()
}

// settle acknowledges the current version once nobody signs in with another. The caller holds the lock.
func (v *Value) settle() {
	current := v.current.Version
	if !v.good[current] {
		return
	}
	for version := range v.open {
		if version != current {
			return
		}
	}
	v.acks.add(current, api.Used)
	v.good = map[string]bool{current: true}
}

// SignIn signs in with the current version. When the target refuses it, which refused tells from other errors, it asks the server once for a newer one,
// or the candidate of a rotation under way, and tries again once. An unreachable target is no reason to ask. What it returns is try's last error.
func (v *Value) SignIn(ctx context.Context, try func(context.Context, *Secret) error, refused func(error) bool) error {
	a := v.Begin()
	err := a.try(ctx, try)
	if err == nil || !refused(err) {
		return err
	}
	next, rerr := v.renew(ctx, a.secret.Version)
	if rerr != nil {
		return fmt.Errorf("%w (and the server was asked for a newer version in vain: %w)", err, rerr)
	}
	if next == nil {
		return err
	}
	v.mu.Lock()
	again := v.begin(next)
	again.refused = a.secret.Version
	v.mu.Unlock()
	return again.try(ctx, try)
}

func (a *Attempt) try(ctx context.Context, try func(context.Context, *Secret) error) error {
	defer a.Failed() // when try panics
	err := try(ctx, a.secret)
	if err == nil {
		a.Succeeded()
	}
	return err
}

// Refused says that the target refused a version, for programs that cannot use SignIn: the next attempt finds a newer one, if there is one.
func (v *Value) Refused(ctx context.Context, version string) error {
	_, err := v.renew(ctx, version)
	return err
}
