package rotationtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// crash is one case: a secret with accounts of its own, a scenario, and a point at which the first worker dies.
type crash struct {
	w        *world
	scenario *scenario
	point    rotation.Point
	name     string
	object   vault.ObjectID
	policy   rotation.Policy
	first    rotator.Credential
	meddler  *meddler
	rotation store.RunID
	// refused is true when the target refuses the first value, so that the attempt may set a second.
	refused bool

	mu      sync.Mutex
	died    bool
	passed  map[rotation.Point]bool
	ordered bool
}

var errDied = errors.New("the process died")

// caseTimeout is enough for a busy machine.
const caseTimeout = 90 * time.Second

// fail lets the first worker die at the point. What is dead does nothing more.
func (c *crash) fail(p rotation.Point) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed[p] = true
	if p == c.point {
		c.died = true
	}
	if c.died {
		return errDied
	}
	return nil
}

func (c *crash) dead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.died
}

// play tells the story to its end and returns what is wrong with it.
func (c *crash) play() error {
	if err := c.begin(); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	worker := c.w.engine(c.meddler.as(), c.fail)
	second := c.w.engine(c.meddler.as(), func(p rotation.Point) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.passed[p] = true
		return nil
	})
	for end := time.Now().Add(caseTimeout); ; time.Sleep(3 * time.Millisecond) {
		runs, err := c.w.openRuns(c.object)
		if err != nil {
			return err
		}
		if len(runs) == 0 {
			return c.judge()
		}
		if time.Now().After(end) {
			return fmt.Errorf("it does not end: %s", describe(runs))
		}
		for _, r := range runs {
			if c.scenario.person != nil {
				if err := c.scenario.person(c, r); err != nil {
					return fmt.Errorf("the person's order: %w", err)
				}
			}
			if r.State == rotation.Stuck && c.scenario.person == nil {
				// A busy machine answers some logins too late, and those that follow add up: what the run asks a person for then is done, once.
				if r.Reason != rotation.LockoutNear || c.ordered {
					return fmt.Errorf("stuck: %s", describe(runs))
				}
				if err := c.orderOnce(r.ID, rotation.Order{Kind: rotation.ReplayOrder}); err != nil {
					return fmt.Errorf("replaying: %w", err)
				}
				continue
			}
			if r.NextAt.IsZero() || r.NextAt.After(time.Now()) {
				continue
			}
			if c.dead() {
				worker = second
			}
			if err := worker.Drive(c.w.Ctx, r.ID); err != nil {
				return err
			}
		}
	}
}

func (c *crash) begin() (err error) {
	c.policy, c.first = c.w.subject.Make(c.w.T)
	c.policy.Rotator = c.w.subject.Rotator.Describe().Name
	if !c.w.subject.Admin.IsZero() {
		c.policy.Admin = &rotation.Reference{Name: adminName}
	}
	c.meddler = newMeddler(c.w.subject.Rotator)
	if c.scenario.prepare != nil {
		c.scenario.prepare(c)
	}
	item, err := c.w.secrets.Set(c.w.Ctx, c.w.Call(c.w.caller), c.name, secret.Input{Value: valueOf(&c.policy, c.first), Enabled: true})
	if err != nil {
		return err
	}
	c.object = item.Object.ID
	service := rotation.NewService(c.w.engine(c.meddler.as(), nil))
	if err := service.SetPolicy(c.w.Ctx, c.w.Call(c.w.caller), c.name, &c.policy); err != nil {
		return err
	}
	cause := c.scenario.cause
	if cause == "" {
		cause = rotation.OnDemand
	}
	run, err := service.Run(c.w.Ctx, c.w.Call(c.w.caller), c.name, rotation.Start{Cause: cause})
	if err == nil {
		c.rotation = run.ID
	}
	return err
}

// order is given by somebody else than who asked for the run.
func (c *crash) order(id store.RunID, o rotation.Order) error {
	_, err := rotation.NewService(c.w.engine(c.meddler.as(), nil)).Order(c.w.Ctx, c.w.Call(c.w.approver), id, o)
	return err
}

func (c *crash) orderOnce(id store.RunID, o rotation.Order) error {
	if c.ordered {
		return nil
	}
	c.ordered = true
	return c.order(id, o)
}

// loseOnLook makes the target lose what it acknowledged, when the ledger is asked for the first time.
func (c *crash) loseOnLook() {
	var lose sync.Once
	c.w.evidence.mu.Lock()
	defer c.w.evidence.mu.Unlock()
	c.w.evidence.look[c.name] = func() {
		lose.Do(func() {
			runs, err := c.w.openRuns(c.object)
			if err != nil || len(runs) == 0 {
				return
			}
			r := runs[len(runs)-1]
			current, err := c.credential(r.Current)
			if err != nil {
				return
			}
			ch := rotator.Change{Credential: current}
			if old, err := c.credential(r.Old[0]); err == nil && old.Account == current.Account {
				ch.Keep = &old
			}
			// What comes of it shows: the scenario has to come by the repair.
			_ = c.w.subject.Rotator.Revoke(c.w.Ctx, c.target(), ch)
		})
	}
}

func (c *crash) target() *rotator.Target {
	return &rotator.Target{Config: c.policy.Target, Admin: c.w.subject.Admin, Attempt: "somebody else"}
}

// byHand is the person of the strategy manual: sets a value at the target, and hands it in.
func (c *crash) byHand(r *rotation.Run) error {
	if r.State != rotation.Asked || c.ordered {
		return nil
	}
	service := rotation.NewService(c.w.engine(c.meddler.as(), nil))
	tasks, err := service.Tasks(c.w.Ctx, c.w.Call(c.w.caller), true, "", 0)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(tasks, func(t *rotation.Task) bool { return t.Run == r.ID })
	if i < 0 {
		return errors.New("a run that asks has no open task")
	}
	c.ordered = true
	next := c.first
	next.Value = []byte("SetByHandAtTheTarget0" + c.name)
	if err := c.w.subject.Rotator.Set(c.w.Ctx, c.target(), rotator.Change{Credential: next}); err != nil {
		return err
	}
	_, err = service.Submit(c.w.Ctx, c.w.Call(c.w.caller), tasks[i].ID, secret.Input{Value: valueOf(&c.policy, next)}, false)
	return err
}

// moves reads versions as the engine does.
func (c *crash) moves() *secret.Rotation {
	return c.w.secrets.Rotation(c.w.Vault, c.name, c.object)
}

func (c *crash) credential(v vault.VersionID) (rotator.Credential, error) {
	_, value, err := c.moves().Open(c.w.Ctx, v)
	if err != nil {
		return rotator.Credential{}, err
	}
	return credentialOf(&c.policy, value)
}

func describe(runs []*rotation.Run) string {
	text := ""
	for _, r := range runs {
		text += fmt.Sprintf("%s in %s (%s), stuck in %q, tries %d, next %s, matrix %v, error %+v; ", r.Kind, r.State, r.Reason, r.Stuck, r.Tries, r.NextAt.Format(time.TimeOnly), r.Matrix, r.LastError)
	}
	return text
}

// login tries until the target says yes or no.
func (c *crash) login(cred rotator.Credential) (ok bool, err error) {
	for range 5 {
		ctx, cancel := context.WithTimeout(c.w.Ctx, 20*time.Second)
		ok, err = c.w.subject.Login(ctx, cred)
		cancel()
		if err == nil {
			return ok, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false, err
}
