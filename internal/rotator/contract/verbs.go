package contract

import (
	"context"
	"errors"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// Receiver is one receiver of orders, for one verb.
type Receiver struct {
	// Name is what people call it, Endpoint the address or path at which it is.
	Name, Endpoint string
	// Blind is true when it cannot try credentials.
	Blind bool
	// Send carries an order and brings the reply, or an error of a class: NotApplied only when the order cannot have arrived.
	Send func(context.Context, *Order) (*Reply, error)
}

// Strategies are those that a receiver may keep safe: it is asked for each plan.
var Strategies = []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating}

// Preflight asks whether the plan can succeed, and tries the present credential.
func (r *Receiver) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	if err := p.Fits("a receiver of orders", Strategies); err != nil {
		return nil, err
	}
	next := part(t, p.Next)
	next.Version = "" // it need not exist yet
	ctx, cancel, o := order(ctx, t, Preflight)
	defer cancel()
	o.Plan = &Plan{Strategy: p.Strategy, Accounts: p.Accounts, Next: *next}
	reply, err := r.ask(ctx, o)
	if err != nil {
		return nil, err
	}
	if reply.Answer == Rejected { // there is no value to reject: what it dislikes is the plan
		reply.Answer, reply.Reason = NotApplied, Misconfigured
	}
	if err := r.outcome(o, reply); err != nil {
		return nil, err
	}
	report := &rotator.Report{Identities: map[string]string{}, System: reply.System, Warnings: reply.Warnings}
	if report.System == "" {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "%s did not say what system it changes: its reply to preflight needs the member system", r.Name)
	}
	for _, a := range p.Accounts {
		if report.Identities[a] = reply.Identities[a]; report.Identities[a] == "" {
			return nil, rotator.Fail(rotator.Misconfigured, nil, "%s did not name the account %q: its reply to preflight needs the member identities", r.Name, a)
		}
	}
	if r.Blind {
		report.Warnings = append(report.Warnings, r.Name+" cannot try credentials: its word is the only proof, and whatever is unknown waits for a person")
		return report, nil
	}
	return report, r.works(ctx, t, p.Current)
}

func (r *Receiver) works(ctx context.Context, t *rotator.Target, current *rotator.Credential) error {
	if current == nil {
		return nil
	}
	logins, err := r.Probe(ctx, t, *current)
	if err != nil {
		return err
	}
	switch logins.Verdict() {
	case rotator.Accepted:
		return nil
	case rotator.Rejected:
		return rotator.Fail(rotator.Misconfigured, nil, "%s says that the present credential of %q is refused: find out which value it has, or begin without one", r.Name, current.Account)
	default:
		return rotator.Fail(rotator.NotApplied, nil, "%s does not know whether the present credential of %q works: %s", r.Name, current.Account, logins[0].Detail)
	}
}

// Set asks that the account accepts the credential.
func (r *Receiver) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	return r.change(ctx, t, Set, c)
}

// Revoke asks that the account refuses the credential.
func (r *Receiver) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	return r.change(ctx, t, Revoke, c)
}

func (r *Receiver) change(ctx context.Context, t *rotator.Target, s Step, c rotator.Change) error {
	if c.Keep != nil && c.Keep.Account != c.Account {
		return rotator.Fail(rotator.Misconfigured, nil, "what %q is to keep belongs to %q", c.Account, c.Keep.Account)
	}
	ctx, cancel, o := order(ctx, t, s)
	defer cancel()
	o.Credential = part(t, c.Credential)
	if c.Keep != nil {
		o.Keep = part(t, *c.Keep)
	}
	reply, err := r.ask(ctx, o)
	if err == nil {
		err = r.outcome(o, reply)
	}
	if err != nil && r.Blind && rotator.ClassOf(err) == rotator.Doubt {
		return rotator.Fail(rotator.Misconfigured, err, "whether %s did the step %s is unknown, and it cannot be asked: a person has to look", r.Name, s)
	}
	return err
}

// Probe asks whether the account accepts the credential.
func (r *Receiver) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	switch {
	case r.Blind:
		return nil, rotator.Fail(rotator.Misconfigured, nil, "%s cannot try credentials: a person has to say which value of %q works", r.Name, c.Account)
	case len(c.Value) == 0:
		return nil, rotator.Fail(rotator.Misconfigured, nil, "there is no value of %q to try", c.Account)
	}
	ctx, cancel, o := order(ctx, t, Probe)
	defer cancel()
	o.Credential = part(t, c)
	one := rotator.Login{Endpoint: r.Endpoint}
	reply, err := r.ask(ctx, o)
	switch {
	case err != nil:
		one.Detail = Clean(err.Error(), c.Value)
	case reply.Answer == Rejected:
		one.Verdict, one.Detail = rotator.Rejected, "the credential is refused "+reply.Message
	case reply.Answer == Done && reply.Identity == "":
		one.Detail = "the login is said to work, and not as whom: the reply needs the member identity"
	case reply.Answer == Done:
		one.Verdict, one.Identity, one.Detail = rotator.Accepted, reply.Identity, reply.Message
	default:
		one.Detail = "the answer is " + string(reply.Answer) + " " + reply.Message
	}
	return rotator.Logins{one}, nil
}

// ask sends the order, again and again while it is pending.
func (r *Receiver) ask(ctx context.Context, o *Order) (*Reply, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, rotator.Fail(rotator.NotApplied, err, "the time was over before %s was asked", r.Name)
		}
		reply, err := r.Send(ctx, o)
		if err != nil {
			return nil, err
		}
		reply.clean(o)
		if reply.Answer != Pending {
			return reply, nil
		}
		timer := time.NewTimer(time.Duration(max(1, min(reply.RetryAfter, 3600))) * time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, rotator.Fail(rotator.Doubt, ctx.Err(), "%s was still at the step %s when the time was over", r.Name, o.Step)
		}
	}
}

// outcome is what a reply to anything but a probe means.
func (r *Receiver) outcome(o *Order, reply *Reply) error {
	said := error(nil)
	if reply.Message != "" {
		said = errors.New(reply.Message)
	}
	account := ""
	if o.Credential != nil {
		account = o.Credential.Account
	}
	switch {
	case reply.Answer == Done:
		return nil
	case reply.Answer == Rejected && o.Step == Set:
		return rotator.Fail(rotator.Refused, said, "%s does not take the new value of %q", r.Name, account)
	case reply.Answer == NotApplied && reply.Reason == Denied:
		return rotator.Fail(rotator.Denied, said, "%s refuses the step %s of %q: check the credential and rights by which it is asked", r.Name, o.Step, account)
	case reply.Answer == NotApplied && reply.Reason == Misconfigured:
		return rotator.Fail(rotator.Misconfigured, said, "%s cannot do the step %s of %q: correct the policy, or what it names", r.Name, o.Step, account)
	case reply.Answer == NotApplied && reply.Reason == Busy:
		return rotator.Fail(rotator.Busy, said, "%s asks to leave %q alone for a while", r.Name, account)
	case reply.Answer == NotApplied:
		return rotator.Fail(rotator.NotApplied, said, "%s did not do the step %s of %q", r.Name, o.Step, account)
	default:
		return rotator.Fail(rotator.Doubt, said, "%s does not know what became of the step %s of %q", r.Name, o.Step, account)
	}
}
