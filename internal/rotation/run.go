package rotation

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Cause is why a run began.
type Cause string

// The causes.
const (
	Scheduled   Cause = "schedule"
	Expiring    Cause = "expiry"
	TooOld      Cause = "maximum-age"
	OnDemand    Cause = "on-demand"
	Leaked      Cause = "leak"
	Emergency   Cause = "emergency"
	Dependency  Cause = "dependency"
	FirstDeploy Cause = "first-deployment"
	// ByFunction: a registered function stored a version without having been asked by a run.
	ByFunction Cause = "function"
)

// Urgent reports whether a run of this cause goes before all others, over open revocations, and revokes at once.
func (c Cause) Urgent() bool { return c == Leaked || c == Emergency }

// rank is the run's place in the queue.
func (c Cause) rank() int {
	if c.Urgent() {
		return urgentRank
	}
	return 0
}

// urgentRank is the rank of runs for which a slot is kept free.
const urgentRank = 100

// Start says why a run began and who wanted it.
type Start struct {
	Cause Cause `json:"cause"`
	// Actor is the principal that asked for it; empty for the engine itself. Note is what it said.
	Actor string `json:"actor,omitempty"`
	Note  string `json:"note,omitempty"`
	// Version is the one that leaked and Exposed since when, for a leak.
	Version vault.VersionID `json:"version,omitempty"`
	Exposed time.Time       `json:"exposed,omitzero"`
	// Parent is the run that this one follows, for a dependency and for a revocation.
	Parent store.RunID `json:"parent,omitempty"`
}

// Pace holds the engine's waits. It is frozen in each run, so that one run keeps one pace.
type Pace struct {
	// Base and Cap bound the sleep before a try: a random part of min(Cap, Base*2^n).
	Base Duration `json:"base"`
	Cap  Duration `json:"cap"`
	// Tries is after how many failures in a row a run is stuck.
	Tries int `json:"tries"`
	// Attempt bounds a rotation without the waits for people and rollouts.
	Attempt Duration `json:"attempt"`
	// Call is how long one call to a target may take.
	Call Duration `json:"call"`
	// Probe is the least time between two probes that may be refused: wrong logins lock accounts.
	Probe Duration `json:"probe"`
	// Settle is how long after a promotion, beyond the replication lag, the target may still lose what it acknowledged.
	Settle Duration `json:"settle"`
	// Look is how often a waiting run looks again.
	Look Duration `json:"look"`
}

// DefaultPace is the engine's usual one.
var DefaultPace = Pace{Base: Duration(2 * time.Second), Cap: Duration(15 * time.Minute), Tries: 8, Attempt: Duration(time.Hour),
	Call: Duration(30 * time.Second), Probe: Duration(30 * time.Second), Settle: Duration(time.Minute), Look: Duration(30 * time.Second)}

// Run is the durable document of a rotation or a revocation. Only the holder of its leases changes it, but for Orders, which people add to.
type Run struct {
	ID       store.RunID    `json:"-"`
	Kind     store.RunKind  `json:"-"`
	Tenant   vault.TenantID `json:"-"`
	Vault    vault.ID       `json:"-"`
	Object   vault.ObjectID `json:"-"`
	NameKey  string         `json:"-"`
	State    State          `json:"-"`
	Rank     int            `json:"-"`
	NextAt   time.Time      `json:"-"`
	Revision int64          `json:"-"`
	Start    Start          `json:"start"`
	Policy   Policy         `json:"policy"`
	Pace     Pace           `json:"pace"`
	Plan     Plan           `json:"plan,omitzero"`
	Able     Able           `json:"able,omitzero"`
	// Need is how much of its window a run that keeps to one has to find left: as long as the last one took.
	Need   Duration                  `json:"need,omitempty"`
	Places map[vault.VersionID]Place `json:"places,omitempty"`

	// Base is the version that was current at the beginning, and to which the target returns when the run fails. Previous is the one before
	// it. Pending is the run's own.
	Base     vault.VersionID `json:"base,omitempty"`
	Previous vault.VersionID `json:"previous,omitempty"`
	Pending  vault.VersionID `json:"pending,omitempty"`
	// Written is what a function stored before the run was planned, Until by when a function has to do its next step.
	Written vault.VersionID `json:"written,omitempty"`
	Until   time.Time       `json:"until,omitzero"`
	// Before is what Base was until another write took its place.
	Before vault.VersionID `json:"before,omitempty"`
	// Current is what a revocation keeps, Old what it ends, the next one first; Promoted is when Current became so.
	Current vault.VersionID   `json:"current,omitempty"`
	Old     []vault.VersionID `json:"old,omitempty"`
	// Over is where the version sat that was ended last.
	Over     Place     `json:"over,omitzero"`
	Promoted time.Time `json:"promoted,omitzero"`

	// Identities are the accounts by the target's own identity, System what it says it is, Snapshot what the rotator remembers.
	Identities map[string]string `json:"identities,omitempty"`
	System     string            `json:"system,omitempty"`
	Snapshot   json.RawMessage   `json:"snapshot,omitempty"`
	Warnings   []string          `json:"warnings,omitempty"`
	// Slots are the credentials that the target had before it was asked to make one.
	Slots []Seen `json:"slots,omitempty"`

	// Driver is the process that wrote the last entry. Inherited is true from when another took the run over until it has looked what the target accepts: the store
	// may be a copy from before what was changed there since.
	Driver    string `json:"driver,omitempty"`
	Inherited bool   `json:"inherited,omitempty"`

	// Began is when the run first acted, Since when it entered its state, Ended when it was over.
	Began time.Time `json:"began,omitzero"`
	Since time.Time `json:"since"`
	Ended time.Time `json:"ended,omitzero"`
	// Trusted is when a person took a clock for right that had been moved. Waits count from there at the earliest: nobody knows how long it was since what
	// lies before.
	Trusted time.Time `json:"trusted,omitzero"`
	// Tries counts failures in a row. Sent is true once the target may have taken Pending; SetAt is when it was last asked to change
	// anything.
	Tries int       `json:"tries,omitempty"`
	Sent  bool      `json:"sent,omitempty"`
	SetAt time.Time `json:"setAt,omitzero"`
	// Doubt is true while the last call that changes the target may still come into force. Refused is true after the target did not take
	// the value, Remade once it was made anew.
	Doubt   bool `json:"doubt,omitempty"`
	Refused bool `json:"refused,omitempty"`
	Remade  bool `json:"remade,omitempty"`
	// Wrong counts refused logins per account since one was accepted.
	Wrong    map[string]int             `json:"wrong,omitempty"`
	ProbedAt time.Time                  `json:"probedAt,omitzero"`
	Matrix   map[vault.VersionID]string `json:"matrix,omitempty"`
	// Spread is the rollout of Pending.
	Spread *rollout.Rollout `json:"spread,omitempty"`
	// Undo is how the run ends when the target has been put back. Back says by which verb it is.
	Undo State  `json:"undo,omitempty"`
	Back string `json:"back,omitempty"`

	// Evidence of a revocation: since when the target has shown no use, since when the ledger is whole, who is waited for.
	QuietSince time.Time `json:"quietSince,omitzero"`
	WholeSince time.Time `json:"wholeSince,omitzero"`
	Looks      int       `json:"looks,omitempty"`
	Waiting    []Holder  `json:"waiting,omitempty"`
	// Leaked are versions that are out: for those of them that are in Old nobody is waited for.
	Leaked []vault.VersionID `json:"leaked,omitempty"`
	// Forced is why consumers are no longer waited for; Agreed is true when the second person did. Disabled is when the old version was.
	Forced   Reason    `json:"forced,omitempty"`
	Agreed   bool      `json:"agreed,omitempty"`
	Disabled time.Time `json:"disabled,omitzero"`
	// Alerted is the share of the deadline, in percent, of which people were told.
	Alerted int `json:"alerted,omitempty"`
	// Foreign is true when another write made Current what it is.
	Foreign bool `json:"foreign,omitempty"`
	// Cut is true once the target was told to refuse the first of Old.
	Cut bool `json:"cut,omitempty"`

	// Succession is what the change of an authority has come to; nil in other runs.
	Succession *Succession `json:"succession,omitempty"`

	// Exposure is how long a leaked credential was accepted after it leaked.
	Exposure *Exposure `json:"exposure,omitempty"`
	// Incident is the leak that the run answers. People change it while the run is driven, and after.
	Incident *Incident `json:"incident,omitempty"`

	// Stuck is where the run came to a halt.
	Stuck State `json:"stuckIn,omitempty"`
	// Orders are what people decided; Obeyed is how many of them were carried out.
	Orders []Order `json:"orders,omitempty"`
	Obeyed int     `json:"obeyed,omitempty"`

	LastError *Trouble `json:"lastError,omitempty"`
	// Reason is why the run stands where it does; History is every move.
	Reason  Reason `json:"reason,omitempty"`
	History []Move `json:"history,omitempty"`
}

// Able is what the rotator could do when the run was planned.
type Able struct {
	Creates, Observes, Terminates, Probes bool
	// Lockout is after how many refused logins the target may lock an account; 0 is never.
	Lockout int
	// Tells is true when a session's account shows which credential it used.
	Tells rotator.Evidence
}

// Exposure is the time in which a leaked credential could be used. From is zero when nobody knows since when it was out.
type Exposure struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until"`
}

// Trouble is the last failure, without values.
type Trouble struct {
	Class   string    `json:"class"`
	Message string    `json:"message"`
	State   State     `json:"state"`
	At      time.Time `json:"at"`
}

// Move is one step of a run's history.
type Move struct {
	At     time.Time `json:"at"`
	From   State     `json:"from,omitempty"`
	To     State     `json:"to"`
	Reason Reason    `json:"reason,omitempty"`
}

// maxHistory bounds the moves that a run remembers: the first ones and the last. The audit log has them all.
const maxHistory = 64

// Seen is a credential that a target showed, without its value.
type Seen struct {
	Place
	Created time.Time `json:"created,omitzero"`
	// Known is true when a version of ours holds it; Shown when the target tells its value.
	Known bool `json:"known,omitempty"`
	Shown bool `json:"shown,omitempty"`
}

// Holder is a consumer that still needs an old version.
type Holder struct {
	Principal string    `json:"principal"`
	Instance  string    `json:"instance,omitempty"`
	Why       string    `json:"why,omitempty"`
	Last      time.Time `json:"last,omitzero"`
}

// OrderKind is something that people tell a run to do.
type OrderKind string

// The orders.
const (
	// ApproveOrder lets a held run go on, or agrees to a forced revocation.
	ApproveOrder OrderKind = "approve"
	// AbortOrder ends a rotation and puts the target back; for a revocation that has not begun it returns to the version before.
	AbortOrder OrderKind = "abort"
	// ForceOrder revokes without waiting for consumers.
	ForceOrder OrderKind = "force"
	// ReplayOrder sends a stuck run on its way again.
	ReplayOrder OrderKind = "replay"
	// AdoptOrder makes the version that the target accepts the current one.
	AdoptOrder OrderKind = "adopt"
	// SubmitOrder hands in the value of a manual step.
	SubmitOrder OrderKind = "submit"
	// HurryOrder makes a rotation urgent, LeakOrder has a revocation end a version at once that leaked.
	HurryOrder OrderKind = "hurry"
	LeakOrder  OrderKind = "leak"
)

// Order is what a person decided.
type Order struct {
	Kind OrderKind `json:"kind"`
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	Note string    `json:"note,omitempty"`
	// Version is the one to adopt or that was submitted. Attested is true when the person vouches for it instead of a login.
	Version  vault.VersionID `json:"version,omitempty"`
	Attested bool            `json:"attested,omitempty"`
	// Place is where a version sits that leaked.
	Place *Place `json:"place,omitempty"`
	// Cause is that of a run that becomes urgent, Exposed since when its version has been out.
	Cause   Cause     `json:"cause,omitempty"`
	Exposed time.Time `json:"exposed,omitzero"`
}

// Open reports whether the run has not ended.
func (r *Run) Open() bool { return !r.State.Terminal() }

// Record is the run as the store keeps it.
func (r *Run) Record() (*store.Run, error) {
	doc, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the run %s: %w", r.ID, err)
	}
	return &store.Run{ID: r.ID, Kind: r.Kind, Tenant: r.Tenant, Vault: r.Vault, Object: r.Object, NameKey: r.NameKey, Open: r.Open(),
		State: string(r.State), Rank: r.Rank, NextAt: r.NextAt, Revision: r.Revision, Doc: doc}, nil
}

// ReadRun is the inverse of Record.
func ReadRun(s *store.Run) (*Run, error) {
	r := &Run{}
	if err := json.Unmarshal(s.Doc, r); err != nil {
		return nil, fmt.Errorf("reading the run %s: %w", s.ID, err)
	}
	r.ID, r.Kind, r.Tenant, r.Vault, r.Object, r.NameKey = s.ID, s.Kind, s.Tenant, s.Vault, s.Object, s.NameKey
	r.State, r.Rank, r.NextAt, r.Revision = State(s.State), s.Rank, s.NextAt, s.Revision
	return r, nil
}

// clone copies what Next may change in place.
func (r *Run) clone() Run {
	c := *r
	c.Places, c.Wrong, c.Matrix = maps.Clone(r.Places), maps.Clone(r.Wrong), maps.Clone(r.Matrix)
	c.Old, c.Orders, c.History = slices.Clone(r.Old), slices.Clone(r.Orders), slices.Clone(r.History)
	c.Succession = r.Succession.clone()
	return c
}

// overlap reports whether old and new are accepted together under the run's strategy.
func (r *Run) overlap() bool { return strategies[r.Policy.Strategy].overlap }

// keeping returns the version that has to stay accepted in the account of v, or "".
func (r *Run) keeping(v, other vault.VersionID) vault.VersionID {
	if other != "" && r.Places[v].Account == r.Places[other].Account {
		return other
	}
	return ""
}

// newRotation is a queued run.
func newRotation(id store.RunID, now time.Time, start Start, p Policy, pace Pace) Run {
	return Run{ID: id, Kind: store.RotationRun, State: Queued, Rank: start.Cause.rank(), NextAt: now, Since: now, Start: start, Policy: p, Pace: pace,
		History: []Move{{At: now, To: Queued, Reason: Reason(start.Cause)}}}
}

// Revocation is the run that ends what a rotation replaced, as a MoveRevocation asks for.
func (r *Run) Revocation(id store.RunID, e Effect, now time.Time) Run {
	start := r.Start
	start.Parent = r.ID
	n := Run{ID: id, Kind: store.RevocationRun, Tenant: r.Tenant, Vault: r.Vault, Object: r.Object, NameKey: r.NameKey, State: Awaiting,
		Rank: r.Rank, NextAt: now, Since: now, Start: start, Policy: r.Policy, Pace: r.Pace, Able: r.Able, Places: r.Places, Driver: r.Driver,
		Current: e.Version, Old: e.Old, Promoted: now, Identities: r.Identities, System: r.System,
		History: []Move{{At: now, To: Awaiting, Reason: Promoted}}}
	if start.Cause.Urgent() {
		n.Forced = Reason(start.Cause)
	}
	return n
}
