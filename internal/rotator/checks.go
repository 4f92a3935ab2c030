package rotator

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/keywright/keywright/internal/redact"
)

// Fits checks what needs no target: the strategy is one of those, and the accounts are as many as it takes, different, and have the one among them
// that changes. Who is the target, in the words of a message that may say why it has no other strategies. Accounts of the strategy Dynamic are
// made by leases, and are not counted.
func (p Plan) Fits(who string, strategies []Strategy) error {
	want := 1
	if p.Strategy == Alternating {
		want = 2
	}
	switch {
	case !slices.Contains(strategies, p.Strategy):
		return Fail(Misconfigured, nil, "%s has no strategy %q: use one of %v", who, p.Strategy, strategies)
	case p.Strategy == Dynamic:
		return nil
	case len(p.Accounts) != want:
		return Fail(Misconfigured, nil, "the strategy %s needs %d accounts and the policy names %d", p.Strategy, want, len(p.Accounts))
	case want == 2 && p.Accounts[0] == p.Accounts[1]:
		return Fail(Misconfigured, nil, "both accounts of the pair are %q: name two", p.Accounts[0])
	case !slices.Contains(p.Accounts, p.Next.Account):
		return Fail(Misconfigured, nil, "the account %q that is about to change is none of the policy's", p.Next.Account)
	}
	return nil
}

// Spares checks that the administrator is none of the accounts.
func (p Plan) Spares(admin Credential) error {
	if slices.Contains(p.Accounts, admin.Account) {
		return Fail(Misconfigured, nil, "%q would change its own password and lose its access in the middle of a run: use another administrator", admin.Account)
	}
	return nil
}

// Suits is Fits and Spares for accounts with one password each, whose names have to pass a check.
func (p Plan) Suits(who string, strategies []Strategy, admin Credential, check func(name string) error) error {
	if err := p.Fits(who, strategies); err != nil {
		return err
	}
	if err := p.Spares(admin); err != nil {
		return err
	}
	for _, a := range p.Accounts {
		if err := check(a); err != nil {
			return err
		}
	}
	return nil
}

// ProveCurrent logs in with the present credential, by the rotator's own probe. A plan without one has nothing to prove.
func (p Plan) ProveCurrent(ctx context.Context, t *Target, probe func(context.Context, *Target, Credential) (Logins, error)) error {
	if p.Current == nil {
		return nil
	}
	logins, err := probe(ctx, t, *p.Current)
	if err != nil {
		return err
	}
	return logins.Works(p.Current.Account)
}

// Remember makes the snapshot of the report: who the accounts are, and what the target is.
func (r *Report) Remember() (err error) {
	if r.Snapshot, err = json.Marshal(map[string]any{"identities": r.Identities, "system": r.System}); err != nil {
		return Fail(NotApplied, err, "remembering the accounts")
	}
	return nil
}

// TryAt logs in at one endpoint after the other. Without a password there is nothing to try: some targets let everybody in who names none.
func (c Credential) TryAt(endpoints []string, login func(endpoint string) Login) (Logins, error) {
	if len(c.Value) == 0 {
		return nil, Fail(Misconfigured, nil, "there is no password of %q to try", c.Account)
	}
	logins := make(Logins, len(endpoints))
	for i, e := range endpoints {
		logins[i] = login(e)
	}
	return logins, nil
}

// Crowded reports whether a change to two values side by side would kill one that the plan does not know. Strangers counts the values of the account
// beside the known ones: without a current one, which is then among them, there may be one.
func (p Plan) Crowded(strangers func(known ...redact.Bytes) int) bool {
	if p.Strategy != Dual {
		return false
	}
	if p.Current == nil {
		return strangers(p.Next.Value) > 1
	}
	return strangers(p.Next.Value, p.Current.Value) > 0
}

// Works says what a login with the present password of an account means for a run that is about to begin: nil when it was accepted.
func (l Login) Works(account string) error {
	switch l.Verdict {
	case Accepted:
		return nil
	case Rejected:
		return Fail(Misconfigured, nil, "the present password of %q is refused at %s (%s): find out which value it has and from where it may log in, or begin without one", account, l.Endpoint, l.Detail)
	default:
		return Fail(NotApplied, nil, "whether the present password of %q works at %s is unknown: %s", account, l.Endpoint, l.Detail)
	}
}

// Works is that of every login: the first that was not accepted counts.
func (l Logins) Works(account string) error {
	for _, one := range l {
		if err := one.Works(account); err != nil {
			return err
		}
	}
	return nil
}
