package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// driver takes one run from one journal entry to the next while it holds the run's leases.
type driver struct {
	e      *Engine
	leases *leases
	run    Run
	vault  *vault.Vault
	moves  *secret.Rotation
	// sealed are versions that were made and are not stored yet.
	sealed map[vault.VersionID]*vault.Version
}

// errDropped says that the worker has to let go of the run as if it had died: somebody else has the lease, or a failpoint said so.
var errDropped = errors.New("the run was dropped")

// maxSteps bounds how long one worker stays with one run, so that nothing can keep a slot for ever.
const maxSteps = 200

// drive takes a run as far as it goes now. It returns true when the run made a move.
func (e *Engine) drive(loop, ctx context.Context, r *Run) bool {
	log := e.Logger.With("run", r.ID, "kind", r.Kind)
	d, err := e.takeUp(ctx, r)
	if err != nil || d == nil {
		if err != nil {
			log.Warn("a rotation could not be taken up: it is tried again", "error", err)
		}
		return false
	}
	moved, err := d.steps(loop, ctx)
	switch {
	case errors.Is(err, errDropped):
		log.Warn("a rotation was let go: whoever holds its lease goes on", "state", d.run.State, "error", err)
		return moved
	case err != nil:
		log.Warn("a rotation could not go on: it is tried again", "state", d.run.State, "error", err)
	}
	d.leases.release(ctx, &d.run)
	return moved
}

// takeUp takes the lease of a run's object and reads the run under it. It returns nil when another worker has the lease.
func (e *Engine) takeUp(ctx context.Context, r *Run) (*driver, error) {
	leave, err := e.lane.enter(ctx, r.urgent())
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := e.watchClock(ctx); err != nil {
		return nil, fmt.Errorf("whether the clock was moved could not be looked up: %w", err)
	}
	l, ok, err := e.acquire(ctx, r)
	if err != nil || !ok {
		return nil, err
	}
	d := &driver{e: e, leases: l, sealed: make(map[vault.VersionID]*vault.Version)}
	if err := d.load(ctx, r.ID); err != nil {
		l.release(ctx, r)
		return nil, err
	}
	return d, nil
}

// load reads the run anew, under its lease: what the queue showed may be old.
func (d *driver) load(ctx context.Context, id store.RunID) error {
	return d.e.Store.View(ctx, func(tx store.Tx) error {
		s, err := tx.Run(ctx, id)
		if err != nil {
			return err
		}
		r, err := ReadRun(s)
		if err != nil {
			return err
		}
		d.run = *r
		d.vault, err = tx.Vault(ctx, r.Vault)
		if err == nil {
			d.moves = d.e.Secrets.Rotation(d.vault, r.NameKey, r.Object)
		}
		return err
	})
}

// now is the time by which the run is driven.
func (d *driver) now() time.Time { return d.e.now(d.run.Tenant) }

// due reports whether the run wants to be looked at now.
func (d *driver) due() bool {
	return d.run.Open() && !d.run.NextAt.IsZero() && !d.run.NextAt.After(d.now())
}

func (d *driver) steps(loop, ctx context.Context) (moved bool, err error) {
	obs := Observation{}
	for range maxSteps {
		if obs.Of == "" && obs.Moved == "" && !obs.Gone && (!d.due() || loop.Err() != nil) {
			return moved, nil
		}
		call, err := d.step(ctx, &obs)
		if err != nil {
			return moved, err
		}
		moved = true
		if call == nil {
			continue
		}
		if obs, err = d.call(ctx, *call); err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// step asks what follows from the observation and writes it to the journal. It returns the call to be made, and leaves in obs what was learnt
// instead when the journal could not be written as planned.
func (d *driver) step(ctx context.Context, obs *Observation) (*Effect, error) {
	leave, err := d.e.lane.enter(ctx, d.run.urgent())
	if err != nil {
		return nil, err
	}
	defer leave()
	obs.Roll, obs.Trusted = roll(), d.e.wall.resumed(d.run.Tenant, d.now())
	if d.run.engaged() && !obs.Held {
		if ok, err := d.leases.reserve(ctx, &d.run); err != nil {
			return nil, err
		} else if !ok {
			*obs = Observation{Held: true, Roll: obs.Roll}
		}
	}
	next, effects, reason := Next(d.run, *obs, d.now())
	if next.engaged() && !obs.Held {
		ok, err := d.leases.reserve(ctx, &next)
		if err != nil {
			return nil, err
		}
		if !ok {
			next, effects, reason = Next(d.run, Observation{Held: true, Roll: obs.Roll}, d.now())
		}
	}
	if err := d.leases.fresh(ctx); err != nil {
		return nil, dropped(err)
	}
	err = d.commit(ctx, next, effects, reason)
	var other *movedError
	switch {
	case errors.As(err, &other):
		*obs = d.otherWrite(ctx, other.current)
		return nil, nil
	case errors.Is(err, errGone):
		*obs = Observation{Gone: true}
		return nil, nil
	case err != nil:
		return nil, dropped(err)
	}
	*obs = Observation{}
	if n := len(effects); n > 0 && effects[n-1].Kind.External() {
		return &effects[n-1], nil
	}
	return nil, nil
}

// otherWrite tells where the version sits that somebody else made current.
func (d *driver) otherWrite(ctx context.Context, current vault.VersionID) Observation {
	f := &Facts{Places: map[vault.VersionID]Place{}}
	if p, err := d.place(ctx, current); err == nil {
		f.Places[current] = p
	}
	return Observation{Moved: current, Facts: f}
}

// place reads where a version sits from its value, and from what the run knows.
func (d *driver) place(ctx context.Context, v vault.VersionID) (Place, error) {
	cred, err := d.login(ctx, v)
	if err != nil {
		return Place{}, err
	}
	cred.value.Zero()
	p := d.run.Places[v]
	if cred.account != "" {
		p.Account = cred.account
	}
	if p.Account == "" && len(d.run.Policy.Accounts) > 0 {
		p.Account = d.run.Policy.Accounts[0]
	}
	return p, nil
}

// login reads the credential in a version.
func (d *driver) login(ctx context.Context, v vault.VersionID) (login, error) {
	_, value, err := d.moves.Open(ctx, v)
	if err != nil {
		return login{}, err
	}
	defer clear(value)
	return d.run.Policy.Format.parse(value)
}

// dropped marks the errors after which the worker no longer has the right to the run.
func dropped(err error) error {
	if isReason(err, store.LeaseLost) || isReason(err, store.LeaseHeld) {
		return errors.Join(errDropped, err)
	}
	return err
}

// fail is the failpoint.
func (d *driver) fail(p Point) error {
	if d.e.Failpoint == nil {
		return nil
	}
	if err := d.e.Failpoint(p); err != nil {
		return errors.Join(errDropped, err)
	}
	return nil
}

// scrub takes values out of a text that a target wrote.
func scrub(text string, values ...redact.Bytes) string {
	for _, v := range values {
		text = replaceAll(text, v)
	}
	return text
}

// errGone says that the object was deleted.
var errGone = errors.New("the object was deleted")

// movedError says that the object has another current version than the run counted on.
type movedError struct{ current vault.VersionID }

func (e *movedError) Error() string {
	return "the object has another current version: " + string(e.current)
}

func isMissing(err error) bool { return fault.Is(err, fault.NotFound) }
