package rotation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Function registers a program that changes the credential by itself, as one for Azure's Event Grid does: it hears that the secret is near its
// expiry, stores a new version, and updates the target afterwards. What it stores is pending until a login with it succeeds.
type Function struct {
	// Principal is the object id of the service principal or managed identity as which the function writes.
	Principal string `json:"principal"`
	// Within is how long the function has to store a version after it was asked, and then to update the target; 0 means DefaultFunctionWithin.
	Within Duration `json:"within,omitempty"`
}

// DefaultFunctionWithin is longer than the three first pauses of an event's retries, so that a function that failed once is heard again.
const DefaultFunctionWithin = Duration(15 * time.Minute)

func (f *Function) within() Duration {
	if f.Within == 0 {
		return DefaultFunctionWithin
	}
	return f.Within
}

// handsOff reports whether nobody but the function changes the target: the engine then has no right to put anything back there.
func (p *Policy) handsOff() bool { return p.Function != nil && p.Admin == nil }

func (c *checker) function() {
	p := c.p
	if p.Function == nil {
		return
	}
	if strings.TrimSpace(p.Function.Principal) == "" {
		c.add("function", "name the object id of its service principal or managed identity", "nobody is registered")
	}
	if p.Strategy != rotator.Single && p.Strategy != rotator.Dual {
		c.add("strategy", "use single or dual", "a function cannot be made to follow %q", clip(string(p.Strategy)))
	}
	if p.Value != nil {
		c.add("value", "leave it out", "the function decides what a version holds")
	}
	if p.Validity > 0 {
		c.add("validity", "leave it out", "the function decides how long a version lives")
	}
	if p.Approval {
		c.add("approval", "leave it out", "a function that hears of an expiry asks nobody")
	}
	if strategies[p.Strategy].overlap && p.Admin == nil {
		c.add("admin", "name the secret of an administrator's credential", "the function sets the new credential, and revoking the old one is the engine's")
	}
}

// registered makes sure that the function of a policy can sign in at all: the writes of somebody else would be everybody's at once.
func registered(ctx context.Context, tx store.Tx, t vault.TenantID, f *Function) error {
	if f == nil {
		return nil
	}
	p, err := tx.Principal(ctx, t, principal.ID(strings.ToLower(f.Principal)))
	if isMissing(err) || err == nil && p.Kind != principal.Service && p.Kind != principal.ManagedIdentity {
		return fault.New(fault.Invalid, "the function's principal %q is not a service principal or managed identity of this tenant: give its object id",
			clip(f.Principal)).Because("PolicyInvalid")
	}
	return err
}

// Pends is asked in the transaction of each write of a secret. It keeps what a registered function writes pending, hands it to the object's open run
// or opens one for it, and returns the labels under which it waits. What comes out of turn is a fault.Conflict, for the function to try again:
// it must not update its target with a value that nobody watches.
func (e *Engine) Pends(ctx context.Context, tx store.Tx, call *guard.Call, o *vault.Object, ver *vault.Version) ([]vault.Label, error) {
	if o.Revision == 0 {
		return nil, nil // a new secret has no policy
	}
	p, err := tx.Policy(ctx, o.ID)
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	doc, err := readPolicy(p)
	if err != nil {
		return nil, err
	}
	if strategies[doc.Policy.Strategy].authority {
		return nil, fault.New(fault.Forbidden, "the secret %q is the trust bundle of the authority %q, and is written when that changes: nobody else can", o.Name, doc.Policy.Authority).
			Because("TrustBundle")
	}
	f := doc.Policy.Function
	if f == nil || !strings.EqualFold(f.Principal, string(call.Caller.Principal)) {
		return nil, nil
	}
	if err := doc.takes(ctx, tx, o, ver); err != nil {
		return nil, err
	}
	order := Order{Kind: SubmitOrder, At: ver.Attributes.Created, By: string(call.Caller.Principal), Version: ver.ID}
	if err := e.handIn(ctx, tx, p, doc, order); err != nil {
		return nil, err
	}
	if doc.Policy.Candidate {
		return []vault.Label{vault.Pending, Candidate}, nil
	}
	return []vault.Label{vault.Pending}, nil
}

// takes refuses what a run could not bring to a good end.
func (d *policyDoc) takes(ctx context.Context, tx store.Tx, o *vault.Object, ver *vault.Version) error {
	if !ver.Attributes.Enabled {
		return fault.New(fault.Invalid, "a rotation function's version of %q becomes current when its target accepts it, and must be enabled", o.Name)
	}
	if v := o.LabelOf(vault.Pending); v != "" {
		return outOfTurn("version %s of %q waits for its target already: update the target with it, or try again when it was given up", v, o.Name)
	}
	if !strategies[d.Policy.Strategy].overlap {
		return nil
	}
	_, err := tx.OpenRun(ctx, o.ID, store.RevocationRun)
	switch {
	case err == nil:
		return outOfTurn("the credential of %q before the current one is not revoked yet, and a new one would take its place: try again later", o.Name)
	case isMissing(err):
		return nil
	}
	return err
}

func outOfTurn(text string, args ...any) error {
	return fault.New(fault.Conflict, text, args...).Because("RotationUnderWay")
}

// handIn gives a version to the open run, or opens one. The run's id follows from the version's: a transaction draws nothing at random.
func (e *Engine) handIn(ctx context.Context, tx store.Tx, p *store.Policy, doc *policyDoc, order Order) error {
	var r Run
	open, err := tx.OpenRun(ctx, p.Object, store.RotationRun)
	switch {
	case isMissing(err):
		sum := sha256.Sum256([]byte("function " + string(order.Version)))
		id := store.RunID(string(order.Version)[:16] + hex.EncodeToString(sum[:8]))
		r = newRotation(id, order.At, Start{Cause: ByFunction, Actor: order.By}, doc.Policy, e.Pace)
		r.Tenant, r.Vault, r.Object, r.NameKey = p.Tenant, p.Vault, p.Object, p.NameKey
	case err != nil:
		return err
	default:
		found, err := ReadRun(open)
		if err != nil {
			return err
		}
		r = *found
		if r.State == Stuck {
			return outOfTurn("the rotation %s of this secret is stuck: replay it, adopt what the target accepts, or abort it", r.ID)
		}
	}
	n, err := r.Take(order)
	if err != nil {
		return err
	}
	record, err := n.Record()
	if err != nil {
		return err
	}
	return tx.PutRun(ctx, record)
}

// The states of a run in which a function changes the target. See Next.

func (m *machine) byFunction() bool { return m.Policy.Function != nil }

// toFunction goes on with a planned run: with the version that was handed in already, or by asking for one.
func (m *machine) toFunction() {
	switch {
	case m.Written != "":
		m.adoptWritten()
	case m.Policy.Admin != nil:
		m.enter(Preflight, Began)
	default:
		m.enter(Asked, Began)
	}
}

// callFunction asks by the event that functions know.
func (m *machine) callFunction() {
	m.effects = append(m.effects, Effect{Kind: MoveCall})
	m.Until = m.Policy.Function.within().after(m.now)
	m.NextAt = m.Until
}

// stillAsked ends the wait for a function that stores nothing.
func (m *machine) stillAsked() {
	if !m.byFunction() {
		m.wait()
		return
	}
	if m.now.Before(m.Until) {
		m.reason, m.NextAt = Waiting, m.Until
		return
	}
	m.alert(FunctionSilent)
	m.undoAs(Aborted, FunctionSilent)
}

// written takes what the function stored. A run that was not planned yet plans first.
func (m *machine) written(v vault.VersionID) {
	m.Written, m.Stuck = v, ""
	switch m.State {
	case Queued, Stuck:
		m.Tries = 0
		m.enter(Queued, Submitted)
	default:
		m.adoptWritten()
	}
}

// adoptWritten watches the target from here on: the function may update it at any moment.
func (m *machine) adoptWritten() {
	m.Pending, m.Written, m.Sent, m.Tries = m.Written, "", true, 0
	m.Places = withPlace(m.Places, m.Pending, m.Plan.Next)
	m.Began, m.Until = m.now, m.Policy.Function.within().after(m.now)
	m.enter(Testing, Submitted)
}

// watch looks whether the function has updated the target. While the only password is still the old one, logging in with that proves it, and no
// refused login counts towards a lockout. Where both are accepted at once, the old one comes last and makes the target forget the refused one.
func (m *machine) watch() {
	if m.overlap() {
		m.login(false, m.Pending, m.Base)
		return
	}
	m.login(false, m.Base, m.Pending)
}

func (m *machine) watched() {
	m.learn()
	refused := slices.Contains(verdicts(m.obs.Matrix), rotator.Rejected)
	switch {
	case m.accepts(m.Pending):
		m.works(PendingWorks)
	case !m.now.Before(m.Until):
		m.alert(FunctionLate)
		m.undoAs(Aborted, FunctionLate)
	default:
		if !refused {
			m.ProbedAt = time.Time{}
		}
		if m.accepts(m.Base) {
			delete(m.Wrong, m.Places[m.Base].Account) // it was the last login
		}
		m.park(Testing, Waiting, min(m.Pace.Base.Std(), m.Until.Sub(m.now)))
	}
}

func verdicts(matrix map[vault.VersionID]rotator.Verdict) (list []rotator.Verdict) {
	for _, v := range matrix {
		list = append(list, v)
	}
	return list
}
