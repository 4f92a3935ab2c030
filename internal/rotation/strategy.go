package rotation

import (
	"maps"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

// traits are what the engine has to know of a strategy. No other code asks which strategy it is.
type traits struct {
	// accounts is how many an object has, slots how many named places for values.
	accounts, slots int
	// overlap is true when the old credential and the new one are accepted together, from set to revoke.
	overlap bool
	// turns says what changes from one run to the next.
	turns turns
	// byHand leaves the change at the target to a person.
	byHand bool
	// leased makes an account for each who asks: no run ever changes it.
	leased bool
	// authority changes a certificate authority; the secret is its trust bundle.
	authority bool
	// refused says why no run of this engine can follow the strategy, cure what to do; empty for one that it can.
	refused, cure string
}

// turns says where the next value goes.
type turns uint8

const (
	// inPlace: to the account of the current one, which has one place; inPlaceKept: beside the current one.
	inPlace turns = iota
	inPlaceKept
	// otherAccount, otherSlot: to the one of the two that is not current.
	otherAccount
	otherSlot
	// newKey: to a place that the target makes.
	newKey
)

var strategies = map[rotator.Strategy]traits{
	rotator.Single:      {accounts: 1, turns: inPlace},
	rotator.Dual:        {accounts: 1, overlap: true, turns: inPlaceKept},
	rotator.Alternating: {accounts: 2, overlap: true, turns: otherAccount},
	rotator.TwoKey:      {accounts: 1, slots: 2, overlap: true, turns: otherSlot},
	rotator.NKeys:       {accounts: 1, overlap: true, turns: newKey},
	rotator.CertificateOverlap: {overlap: true, authority: true, refused: "it is for the trust bundles of certificate authorities",
		cure: "publish the trust bundle of the authority, which gives its secret such a policy"},
	rotator.Dynamic: {leased: true},
	rotator.Manual:  {turns: inPlace, byHand: true},
}

func strategyNames() []string {
	var names []string
	for s, tr := range strategies {
		if tr.refused == "" {
			names = append(names, string(s))
		}
	}
	slices.Sort(names)
	return names
}

func joinStrategies(list []rotator.Strategy) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// Place is where a version's value sits at the target.
type Place struct {
	Account string `json:"account,omitempty"`
	Slot    string `json:"slot,omitempty"`
	KeyID   string `json:"keyId,omitempty"`
}

// Facts are what the store and the policy's own state show of an object before a run.
type Facts struct {
	Current, Previous, Pending vault.VersionID
	// Places holds where versions sit, as far as that is known.
	Places map[vault.VersionID]Place
	// Revoking are the versions that an open revocation is about to end.
	Revoking []vault.VersionID
	// PreviousGone is true when Previous was revoked at the target, or never was there.
	PreviousGone bool
	// Keys is how many keys of the account the target is known to hold.
	Keys int
	// Rotator is what the policy's rotator can do; nil when the server has none of that name any more.
	Rotator *rotator.Description
	// Creates, Observes, Terminates and Probes say which of the optional abilities it has.
	Creates, Observes, Terminates, Probes bool
	// Unreadable says why the current value is not a credential in the policy's format; empty when it is one.
	Unreadable string
}

// Plan is what a rotation is about to do.
type Plan struct {
	// Next is where the new value goes, as far as it is known before.
	Next Place `json:"next"`
	// Keep is the version that the same account goes on accepting while the new one is set; empty for none.
	Keep vault.VersionID `json:"keep,omitempty"`
	// Candidate publishes the new value before it is set. Create leaves making it to the target.
	Candidate bool `json:"candidate,omitempty"`
	Create    bool `json:"create,omitempty"`
	// Revoke are the versions to be revoked when the run is done, the oldest first.
	Revoke []vault.VersionID `json:"revoke,omitempty"`
}

// Refusal says why no plan is safe. Wait is true when it may become so by itself, End the version that has to be revoked for that.
type Refusal struct {
	Reason  Reason
	Message string
	Wait    bool
	End     vault.VersionID
}

// MakePlan decides which account and slot changes next, or why nothing may change. An urgent plan goes on over an open revocation: what it
// waited for loses its credential then, and is to be told so.
func MakePlan(p *Policy, f *Facts, urgent bool) (Plan, *Refusal) {
	tr, ok := strategies[p.Strategy]
	switch {
	case !ok || tr.refused != "":
		return Plan{}, &Refusal{Reason: PlanUnsafe, Message: "the strategy " + string(p.Strategy) + " cannot be followed: " + tr.refused}
	case tr.leased:
		return Plan{}, &Refusal{Reason: PlanUnsafe, Message: "its credentials are leased one by one and never rotated: lease one, or revoke leases"}
	case tr.byHand:
		return manualPlan(p, f), nil
	case f.Rotator == nil:
		return Plan{}, &Refusal{Reason: PlanUnsafe, Message: "this server has no rotator " + p.Rotator + " any more: set another policy"}
	case !f.Rotator.Supports(p.Strategy):
		return Plan{}, &Refusal{Reason: PlanUnsafe, Message: f.Rotator.Title + " cannot keep the strategy " + string(p.Strategy) + " safe"}
	case f.Unreadable != "":
		return Plan{}, &Refusal{Reason: PlanUnsafe, Message: "the current value is no credential in the policy's format: " + f.Unreadable}
	case len(f.Revoking) > 0 && tr.overlap && !urgent:
		// The place of the next value still holds one that somebody may need: the spare password, the idle user of n-2, the other key.
		return Plan{}, &Refusal{Reason: AwaitingRevocation, Wait: true,
			Message: "the credential before the current one is not revoked yet, and the next value would take its place: it waits until nobody needs that one"}
	}
	if f.Previous != "" && !f.PreviousGone && tr.evicts() && !urgent {
		// Another write made Current what it is, and nothing ended the version before it: consumers may hold that.
		return Plan{}, &Refusal{Reason: AwaitingRevocation, Wait: true, End: f.Previous,
			Message: "the version before the current one may still be in use, and the next value would take its place: it is revoked first"}
	}
	plan := Plan{Candidate: p.Candidate, Create: f.Creates, Revoke: revoke(f)}
	current, known := f.Places[f.Current]
	if f.Current != "" && !known {
		current.Account = p.Accounts[0]
	}
	return tr.place(p, f, current, plan)
}

// evicts reports whether setting the next value ends the one before the current.
func (tr traits) evicts() bool { return tr.overlap && tr.turns != newKey }

// place fills in where the new value goes.
func (tr traits) place(p *Policy, f *Facts, current Place, plan Plan) (Plan, *Refusal) {
	if f.Current != "" && !slices.Contains(p.Accounts, current.Account) {
		return Plan{}, &Refusal{Reason: PlanUnsafe,
			Message: "the current credential belongs to an account that the policy does not name: correct the policy or the secret"}
	}
	plan.Next.Account = p.Accounts[0]
	switch tr.turns {
	case inPlaceKept:
		plan.Keep = f.Current
	case otherAccount:
		plan.Next.Account = other(p.Accounts, current.Account)
	case otherSlot:
		if f.Current != "" && !slices.Contains(p.Slots, current.Slot) {
			return Plan{}, &Refusal{Reason: PlanUnsafe,
				Message: "it is not known which of the two keys is the current one, so neither may be regenerated: adopt the current version with its slot"}
		}
		plan.Next.Slot, plan.Keep = other(p.Slots, current.Slot), f.Current
	case newKey:
		if most := max(p.MaxKeys, 2); f.Keys >= most {
			return Plan{}, &Refusal{Reason: AwaitingRevocation, Wait: true,
				Message: "the account has as many keys as the target keeps: one has to be revoked first"}
		}
		if plan.Create && f.Current != "" && current.KeyID == "" {
			return Plan{}, &Refusal{Reason: PlanUnsafe,
				Message: "it is not known which of the account's keys is the current one, so it could never be revoked: delete the others at the target"}
		}
		plan.Keep = f.Current
	}
	return plan, nil
}

func manualPlan(p *Policy, f *Facts) Plan {
	plan := Plan{Revoke: revoke(f)}
	if len(p.Accounts) > 0 {
		plan.Next.Account = p.Accounts[0]
	}
	return plan
}

// revoke lists what has to go when the plan is done: what is on its way out already, then what is current.
func revoke(f *Facts) []vault.VersionID {
	list := slices.Clone(f.Revoking)
	if f.Current != "" && !slices.Contains(list, f.Current) {
		list = append(list, f.Current)
	}
	return list
}

// other returns the entry of a pair that is not this one; the first, when this is none of them.
func other(pair []string, this string) string {
	if len(pair) == 2 && pair[0] == this {
		return pair[1]
	}
	return pair[0]
}

func withPlace(places map[vault.VersionID]Place, v vault.VersionID, p Place) map[vault.VersionID]Place {
	c := maps.Clone(places)
	if c == nil {
		c = make(map[vault.VersionID]Place, 1)
	}
	c[v] = p
	return c
}
