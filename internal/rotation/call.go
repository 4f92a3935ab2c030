package rotation

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// call lets one effect happen and says what came of it. Its own error means that the worker has to let go.
func (d *driver) call(ctx context.Context, e Effect) (Observation, error) {
	if err := d.fail(beforeCall(d.run.State)); err != nil {
		return Observation{}, err
	}
	left := d.leases.left(d.run.Pace.Call.Std())
	if left <= 0 {
		if err := d.leases.fresh(ctx); err != nil {
			return Observation{}, dropped(err)
		}
		left = d.leases.left(d.run.Pace.Call.Std())
	}
	bounded, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	c := &calling{driver: d, rotator: d.e.rotators[d.run.Policy.Rotator]}
	defer c.zero()
	obs := Observation{}
	err := c.make(bounded, e, &obs)
	obs.Of = e.Kind
	if err != nil {
		obs.Class = classOf(err)
		obs.Err = &Trouble{Class: obs.Class.String(), Message: scrub(err.Error(), c.values...)}
	}
	return obs, d.fail(afterCall(d.run.State))
}

// classOf says what is known after a failure. What a service of our own refuses changed nothing at the target.
func classOf(err error) rotator.Class {
	if c := rotator.ClassOf(err); c != rotator.Doubt {
		return c
	}
	switch {
	case fault.Is(err, fault.Invalid), fault.Is(err, fault.Forbidden), fault.Is(err, fault.Unsupported):
		return rotator.Misconfigured
	}
	return rotator.Doubt
}

// calling is one call and the values that were opened for it.
type calling struct {
	*driver
	rotator rotator.Rotator
	values  []redact.Bytes
}

func (c *calling) zero() {
	for _, v := range c.values {
		v.Zero()
	}
}

func (c *calling) make(ctx context.Context, e Effect, o *Observation) error {
	if c.rotator == nil && e.Kind != CallLook && e.Kind != CallWitness && e.Kind != CallRollout && e.Kind != CallGenerate {
		return rotator.Fail(rotator.Misconfigured, nil, "this server has no rotator %q", c.run.Policy.Rotator)
	}
	switch e.Kind {
	case CallLook:
		return c.look(ctx, o)
	case CallPreflight:
		return c.preflight(ctx, e, o)
	case CallGenerate:
		return c.generate(ctx, e, o)
	case CallSet, CallRevoke:
		return c.change(ctx, e)
	case CallDiscard:
		return c.discard(ctx, e)
	case CallProbe:
		return c.probe(ctx, e, o)
	case CallCreate, CallSlots, CallTake:
		return c.slots(ctx, e, o)
	case CallTerminate:
		return c.terminate(ctx, e, o)
	case CallRollout:
		return c.spread(ctx, o)
	case CallWitness:
		return c.witness(ctx, e, o)
	}
	return rotator.Fail(rotator.Misconfigured, nil, "%q is not a call", e.Kind)
}

// look gathers the facts for the planner.
func (c *calling) look(ctx context.Context, o *Observation) error {
	f := &Facts{Places: map[vault.VersionID]Place{}}
	err := c.e.Store.View(ctx, func(tx store.Tx) error {
		object, err := c.moves.Find(ctx, tx)
		if err != nil {
			return err
		}
		f.Current, f.Previous, f.Pending = object.Current, object.LabelOf(vault.Previous), object.LabelOf(vault.Pending)
		if f.Previous != "" {
			ver, err := tx.Version(ctx, object.ID, f.Previous)
			if err != nil {
				return err
			}
			f.PreviousGone = ver.State == vault.Retired || ver.State == vault.Abandoned
		}
		if p, err := tx.Policy(ctx, object.ID); err == nil {
			doc, err := readPolicy(p)
			if err != nil {
				return err
			}
			for v, place := range doc.State.Places {
				f.Places[v] = place
			}
		} else if !isMissing(err) {
			return err
		}
		open, err := tx.OpenRun(ctx, object.ID, store.RevocationRun)
		if isMissing(err) {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := ReadRun(open)
		if err == nil {
			f.Revoking = r.Old
		}
		return err
	})
	switch {
	case isMissing(err):
		o.Gone = true
		return nil
	case err != nil:
		return err
	}
	c.abilities(f)
	c.run.Places = f.Places
	for _, v := range []vault.VersionID{f.Current, f.Previous} {
		if v == "" {
			continue
		}
		p, err := c.place(ctx, v)
		switch {
		case fault.Is(err, fault.Invalid) && v == f.Current:
			f.Unreadable = sentence(err)
		case fault.Is(err, fault.Invalid):
		case err != nil:
			return err
		default:
			f.Places[v] = p
		}
	}
	if f.Creates && (c.run.Policy.Strategy == rotator.NKeys || len(c.run.Policy.Slots) > 0) {
		if err := c.count(ctx, f); err != nil {
			return err
		}
	}
	o.Facts = f
	return nil
}

func (c *calling) abilities(f *Facts) {
	if c.rotator == nil {
		return
	}
	d := c.rotator.Describe()
	f.Rotator, f.Probes = &d, true
	if blind, ok := c.rotator.(rotator.Blind); ok {
		f.Probes = blind.Probes(c.run.Policy.Target)
	}
	_, f.Creates = c.rotator.(rotator.Creator)
	_, f.Observes = c.rotator.(rotator.Observer)
	_, f.Terminates = c.rotator.(rotator.Terminator)
}

// count counts the keys that the target has, and finds the one of the current value where it shows values.
func (c *calling) count(ctx context.Context, f *Facts) error {
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	var current rotator.Credential
	if f.Current != "" && f.Unreadable == "" {
		if current, err = c.credential(ctx, f.Current); err != nil {
			return err
		}
	}
	slots, err := c.rotator.(rotator.Creator).Slots(ctx, t, c.run.Policy.Accounts[0])
	if err != nil {
		return err
	}
	f.Keys = len(slots)
	if p := f.Places[f.Current]; len(slots) == 1 && f.Current != "" && p.KeyID == "" && p.Slot == "" {
		// The only key that there is is the current one: the preflight proves that it logs in.
		f.Places[f.Current] = Place{Account: slots[0].Account, Slot: slots[0].Slot, KeyID: slots[0].KeyID}
	}
	for _, s := range slots {
		if len(s.Value) > 0 && subtle.ConstantTimeCompare(s.Value, current.Value) == 1 {
			f.Places[f.Current] = Place{Account: s.Account, Slot: s.Slot, KeyID: s.KeyID}
		}
		s.Value.Zero()
	}
	return nil
}

// target is where the run's changes happen. The administrator's credential is read for each call, and that is recorded.
func (c *calling) target(ctx context.Context) (*rotator.Target, error) {
	t := &rotator.Target{Config: c.run.Policy.Target, Attempt: string(c.run.ID)}
	ref := c.run.Policy.Admin
	if ref == nil {
		return t, nil
	}
	admin, err := c.administrator(ctx, *ref)
	t.Admin = admin
	return t, err
}

func (c *calling) administrator(ctx context.Context, ref Reference) (rotator.Credential, error) {
	var v *vault.Vault
	var o *vault.Object
	err := c.e.Store.View(ctx, func(tx store.Tx) (err error) {
		v = c.vault
		if ref.Vault != "" {
			if v, err = tx.VaultByName(ctx, ref.Vault); err != nil {
				return err
			}
		}
		o, err = tx.Object(ctx, v.ID, vault.Secret, ref.Name)
		return err
	})
	if isMissing(err) || err == nil && (v.Tenant != c.run.Tenant || o.Deleted != nil || o.Current == "") {
		return rotator.Credential{}, rotator.Fail(rotator.Denied, nil, "the administrator's secret %q was not found: correct the policy, or set it", ref.Name)
	}
	if err != nil {
		return rotator.Credential{}, rotator.Fail(rotator.NotApplied, err, "the administrator's secret %q could not be read", ref.Name)
	}
	call := c.e.call(v, "rotation.admin", string(c.run.ID), c.e.now())
	need := guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: o.Name, Version: o.Current, Reason: "run " + string(c.run.ID) + " of " + c.run.NameKey}
	if err := c.e.Guard.Record(ctx, call, &need); err != nil {
		return rotator.Credential{}, rotator.Fail(rotator.NotApplied, err, "the reading of the administrator's secret could not be recorded")
	}
	ver, value, err := c.e.Secrets.Rotation(v, o.Name, o.ID).Open(ctx, o.Current)
	if err != nil {
		return rotator.Credential{}, rotator.Fail(rotator.NotApplied, err, "the administrator's secret %q could not be opened", ref.Name)
	}
	defer clear(value)
	if !ver.Attributes.Enabled {
		return rotator.Credential{}, rotator.Fail(rotator.Denied, nil, "the administrator's secret %q is disabled: enable it", ref.Name)
	}
	l, err := Format{Kind: JSON}.parse(value)
	if err != nil {
		return rotator.Credential{}, rotator.Fail(rotator.Misconfigured, nil, "the administrator's secret %q must be JSON with username and password", ref.Name)
	}
	c.values = append(c.values, l.value)
	return rotator.Credential{Account: l.account, Value: l.value}, nil
}

// credential reads what a version holds. The policy's own places say where it sits.
func (c *calling) credential(ctx context.Context, v vault.VersionID) (rotator.Credential, error) {
	l, err := c.login(ctx, v)
	if err != nil {
		return rotator.Credential{}, rotator.Fail(rotator.NotApplied, err, "version %s could not be read", v)
	}
	c.values = append(c.values, l.value)
	p := c.run.Places[v]
	if l.account != "" {
		p.Account = l.account
	}
	if p.Account == "" && len(c.run.Policy.Accounts) > 0 {
		p.Account = c.run.Policy.Accounts[0]
	}
	return rotator.Credential{Account: p.Account, Slot: p.Slot, KeyID: p.KeyID, Version: string(v), Value: l.value}, nil
}

func (c *calling) preflight(ctx context.Context, e Effect, o *Observation) error {
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	p := rotator.Plan{Strategy: c.run.Policy.Strategy, Accounts: c.run.Policy.Accounts,
		Next: rotator.Credential{Account: e.Place.Account, Slot: e.Place.Slot}}
	if e.Version != "" {
		current, err := c.credential(ctx, e.Version)
		if err != nil {
			return err
		}
		p.Current = &current
	}
	report, err := c.rotator.Preflight(ctx, t, p)
	if err != nil {
		return err
	}
	o.Report = &Found{Identities: report.Identities, System: report.System, Snapshot: report.Snapshot, Warnings: report.Warnings}
	return nil
}

// generate makes a value and seals it. It is stored with the next journal entry, and only here is it in the clear.
func (c *calling) generate(ctx context.Context, e Effect, o *Observation) error {
	var d *rotator.Description
	if c.rotator != nil {
		description := c.rotator.Describe()
		d = &description
	}
	value, err := generate(c.run.Policy.rules(d, e.Strict))
	if err != nil {
		return err
	}
	c.values = append(c.values, value)
	return c.seal(ctx, rotator.Credential{Account: e.Place.Account, Value: value}, o)
}

// seal makes a version of a credential; what is not the credential's stays as in the version before.
func (c *calling) seal(ctx context.Context, cred rotator.Credential, o *Observation) error {
	in := secret.Input{Enabled: true}
	var like []byte
	if c.run.Base != "" {
		ver, value, err := c.moves.Open(ctx, c.run.Base)
		if err != nil {
			return rotator.Fail(rotator.NotApplied, err, "version %s could not be read", c.run.Base)
		}
		defer clear(value)
		like, in.ContentType, in.Tags = value, ver.ContentType, ver.Tags
	}
	value, err := c.run.Policy.Format.compose(like, cred.Account, cred.Value)
	if err != nil {
		return err
	}
	defer clear(value)
	op := store.NewOp(c.e.now())
	in.Value = value
	if c.run.Policy.Validity > 0 {
		in.Expires = c.run.Policy.Validity.after(op.At)
	}
	ver, err := c.moves.Seal(ctx, op, in)
	if err != nil {
		return err
	}
	c.sealed[ver.ID] = ver
	o.Version, o.Place = ver.ID, Place{Account: cred.Account, Slot: cred.Slot, KeyID: cred.KeyID}
	return nil
}

// change sets or revokes a credential.
func (c *calling) change(ctx context.Context, e Effect) error {
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	var ch rotator.Change
	if ch.Credential, err = c.credential(ctx, e.Version); err != nil {
		return err
	}
	if ch.Keep, err = c.keep(ctx, e.Keep); err != nil {
		return err
	}
	if e.Kind == CallSet {
		return c.rotator.Set(ctx, t, ch)
	}
	return c.rotator.Revoke(ctx, t, ch)
}

func (c *calling) keep(ctx context.Context, v vault.VersionID) (*rotator.Credential, error) {
	if v == "" {
		return nil, nil
	}
	cred, err := c.credential(ctx, v)
	return &cred, err
}

func (c *calling) discard(ctx context.Context, e Effect) error {
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	ch := rotator.Change{Credential: rotator.Credential{Account: e.Place.Account, Slot: e.Place.Slot, KeyID: e.Place.KeyID}}
	if ch.Keep, err = c.keep(ctx, e.Keep); err != nil {
		return err
	}
	return c.rotator.Revoke(ctx, t, ch)
}

// probe logs in with one version after the other. A version that cannot be tried proves nothing.
func (c *calling) probe(ctx context.Context, e Effect, o *Observation) error {
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	o.Matrix = make(map[vault.VersionID]rotator.Verdict, len(e.Probe))
	var details []string
	for _, v := range e.Probe {
		cred, err := c.credential(ctx, v)
		if err == nil {
			var logins rotator.Logins
			logins, err = c.rotator.Probe(ctx, t, cred)
			o.Matrix[v] = c.verdict(cred.Account, logins)
			if o.Matrix[v] == rotator.Accepted && logins[0].Identity != "" {
				if o.Identities == nil {
					o.Identities = make(map[string]string)
				}
				o.Identities[cred.Account] = logins[0].Identity
			}
			details = append(details, describeLogins(v, logins)...)
		}
		if err != nil {
			o.Matrix[v] = rotator.Unknown
			details = append(details, string(v)+": "+err.Error())
		}
		if o.Matrix[v] == rotator.Accepted && !e.All {
			break
		}
	}
	if len(details) > 0 {
		o.Err = &Trouble{Class: "probe", Message: scrub(strings.Join(details, "; "), c.values...)}
	}
	return nil
}

// verdict is what logins prove. One as somebody else than the preflight saw proves nothing.
func (c *calling) verdict(account string, logins rotator.Logins) rotator.Verdict {
	want := c.run.Identities[account]
	for _, l := range logins {
		if l.Verdict == rotator.Accepted && want != "" && l.Identity != "" && l.Identity != want {
			return rotator.Unknown
		}
	}
	return logins.Verdict()
}

func describeLogins(v vault.VersionID, logins rotator.Logins) (list []string) {
	for _, l := range logins {
		if l.Verdict != rotator.Accepted {
			list = append(list, string(v)+" at "+l.Endpoint+": "+l.Verdict.String()+" "+l.Detail)
		}
	}
	return list
}

// slots creates, lists or takes over values that the target makes.
func (c *calling) slots(ctx context.Context, e Effect, o *Observation) error {
	creator, ok := c.rotator.(rotator.Creator)
	if !ok {
		return rotator.Fail(rotator.Misconfigured, nil, "the rotator %q makes no values", c.run.Policy.Rotator)
	}
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	if e.Kind == CallCreate {
		ch := rotator.Change{Credential: rotator.Credential{Account: e.Place.Account, Slot: e.Place.Slot}}
		if ch.Keep, err = c.keep(ctx, e.Keep); err != nil {
			return err
		}
		cred, err := creator.Create(ctx, t, ch)
		if err != nil {
			return err
		}
		c.values = append(c.values, cred.Value)
		return c.sealMade(ctx, cred, o)
	}
	slots, err := creator.Slots(ctx, t, e.Place.Account)
	if err != nil {
		return err
	}
	for _, s := range slots {
		c.values = append(c.values, s.Value)
		at := Place{Account: s.Account, Slot: s.Slot, KeyID: s.KeyID}
		if e.Kind == CallTake && at == e.Place {
			return c.sealMade(ctx, s.Credential, o)
		}
		o.Slots = append(o.Slots, Seen{Place: at, Created: s.Created, Known: c.knows(ctx, s), Shown: len(s.Value) > 0})
	}
	if e.Kind == CallTake {
		return rotator.Fail(rotator.NotApplied, nil, "the target does not show the value any more that it made")
	}
	return nil
}

// sealMade seals what the target made. Until that is stored only the target knows the value: an error leaves an orphan to be found.
func (c *calling) sealMade(ctx context.Context, cred rotator.Credential, o *Observation) error {
	if err := c.seal(ctx, cred, o); err != nil {
		return rotator.Fail(rotator.Doubt, err, "the value that the target made could not be sealed")
	}
	return nil
}

// knows reports whether one of the versions that may be at the target holds the slot's value.
func (c *calling) knows(ctx context.Context, s rotator.Slot) bool {
	for _, v := range []vault.VersionID{c.run.Base, c.run.Previous, c.run.Pending} {
		if v == "" {
			continue
		}
		if p := c.run.Places[v]; s.KeyID != "" && p.KeyID == s.KeyID {
			return true
		}
		if len(s.Value) == 0 {
			continue
		}
		if l, err := c.login(ctx, v); err == nil {
			same := subtle.ConstantTimeCompare(l.value, s.Value) == 1
			l.value.Zero()
			if same {
				return true
			}
		}
	}
	return false
}

func (c *calling) terminate(ctx context.Context, e Effect, o *Observation) error {
	terminator, ok := c.rotator.(rotator.Terminator)
	if !ok {
		return nil
	}
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	o.Terminated, err = terminator.Terminate(ctx, t, e.Place.Account)
	return err
}

// spread takes the rollout one step further.
func (c *calling) spread(ctx context.Context, o *Observation) error {
	r, probe, err := c.rollout()
	if err != nil {
		return err
	}
	seen, err := c.e.Rings.Observe(ctx, c.subject(), r, probe)
	if err != nil {
		return err
	}
	seen.Approved = seen.Approved || slices.ContainsFunc(c.run.Orders, func(o Order) bool { return o.Kind == ApproveOrder && o.At.After(r.Changed) })
	next, decision, _ := rollout.Next(r, seen, c.e.now())
	o.Rollout = &Spread{Rollout: next, Done: decision == rollout.Finish, Return: decision == rollout.Return}
	return nil
}

func (c *calling) rollout() (r rollout.Rollout, probe string, err error) {
	if c.e.Rings == nil {
		return r, "", rotator.Fail(rotator.Misconfigured, nil, "this server has no rollouts")
	}
	var p RolloutPolicy
	if err := json.Unmarshal(c.run.Policy.Rollout, &p); err != nil {
		return r, "", rotator.Fail(rotator.Misconfigured, err, "the rollout of the policy cannot be read")
	}
	if c.run.Spread != nil {
		return *c.run.Spread, p.Probe, nil
	}
	r, err = rollout.New(c.run.Pending, c.run.Base, p.Rings, p.Return)
	return r, p.Probe, err
}

func (d *driver) subject() Subject {
	return Subject{Tenant: d.run.Tenant, Vault: d.run.Vault, Object: d.run.Object, NameKey: d.run.NameKey}
}

// witness asks the target who is logged in with the old credential, tells the ledger, and asks that for its verdict.
func (c *calling) witness(ctx context.Context, e Effect, o *Observation) error {
	if off := c.e.Paused(); off != 0 {
		return rotator.Fail(rotator.NotApplied, nil, "the clock of this server was moved by %s: who still needs the old version cannot be told until it is right again, or somebody resumes", off.Round(time.Second))
	}
	w := &Witness{}
	m := &machine{Run: c.run}
	if observer, ok := c.rotator.(rotator.Observer); ok && m.tells() {
		t, err := c.target(ctx)
		if err != nil {
			return err
		}
		at := c.e.now()
		sessions, err := observer.Sessions(ctx, t, c.run.Places[e.Version].Account)
		if err != nil {
			return err
		}
		if err := c.e.Evidence.Seen(ctx, c.subject(), e.Version, sessions, at); err != nil {
			return err
		}
		w.Told, w.Sessions = true, len(sessions)
	}
	v, err := c.e.Evidence.Verdict(ctx, c.subject(), e.Version, c.run.Current, c.run.Promoted, &c.run.Policy)
	if err != nil {
		return err
	}
	w.Safe, w.Waiting, w.Whole = v.Safe, v.Waiting, v.Whole
	o.Evidence = w
	return nil
}

func replaceAll(text string, value redact.Bytes) string {
	const shortest = 4 // anything shorter stands in every sentence
	if len(value) < shortest || !bytes.Contains([]byte(text), value) {
		return text
	}
	return strings.ReplaceAll(text, string(value.Reveal()), value.String())
}
