package rotation

import (
	"slices"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// State is where a run stands. A state that has a call is entered to make that call.
type State string

// The states of a rotation.
const (
	Queued     State = "queued"
	Preflight  State = "preflight"
	Approval   State = "approval"
	Generating State = "generating"
	Generated  State = "generated"
	Setting    State = "setting"
	Probing    State = "probing"
	Testing    State = "testing"
	Rollout    State = "rollout"
	// A target that makes its values: what it has is listed, it makes one, and what it made is found after a doubt, taken over or removed.
	Listing    State = "listing"
	Creating   State = "creating"
	Finding    State = "finding"
	Taking     State = "taking"
	Discarding State = "discarding"
	// Asked waits for a person, or a registered function, who changes the target.
	Asked State = "asked"
	// Undoing finds out what the target accepts, Restoring puts it back, Restored proves it.
	Undoing   State = "undoing"
	Restoring State = "restoring"
	Restored  State = "restored"
	Adopting  State = "adopting"
)

// The states of a revocation.
const (
	Awaiting    State = "awaiting"
	Held        State = "held"
	Verifying   State = "verifying"
	Repairing   State = "repairing"
	Revoking    State = "revoking"
	Terminating State = "terminating"
	Confirming  State = "confirming"
	Returning   State = "returning"
)

// The states of the change of an authority.
const (
	// Surveying finds out who signs for whom, and whether those who trust the authority are known.
	Surveying State = "surveying"
	// Making makes the next version of an authority, Unmaking gives one up that is not there yet.
	Making   State = "making"
	Unmaking State = "unmaking"
	// Publishing puts the new version into trust bundles beside the old one, Trusting waits until everybody who reads them has it.
	Publishing State = "publishing"
	Trusting   State = "trusting"
	// Reissuing makes the certificates anew that the old version signed, Deploying waits until their consumers have them.
	Reissuing State = "reissuing"
	Deploying State = "deploying"
	// Dropping takes the old version out of trust bundles, Withdrawing has it taken back by the authority above when it leaked.
	Dropping    State = "dropping"
	Withdrawing State = "withdrawing"
)

// The states of all. The last three are final.
const (
	Stuck      State = "stuck"
	Done       State = "done"
	Aborted    State = "aborted"
	Superseded State = "superseded"
)

// Terminal reports whether a run in this state has ended.
func (s State) Terminal() bool { return s == Done || s == Aborted || s == Superseded }

// Reason is why a run made a move: a code for machines, in journal, audit and events.
type Reason string

// The reasons. A cause is the first reason of each run.
const (
	Began              Reason = "Began"
	PreflightPassed    Reason = "PreflightPassed"
	ApprovalNeeded     Reason = "ApprovalNeeded"
	Approved           Reason = "Approved"
	ValueMade          Reason = "ValueMade"
	SlotsListed        Reason = "SlotsListed"
	SetAcknowledged    Reason = "SetAcknowledged"
	SetInDoubt         Reason = "SetInDoubt"
	Interrupted        Reason = "Interrupted"
	PendingWorks       Reason = "PendingWorks"
	NotAppliedYet      Reason = "NotAppliedYet"
	NotApplied         Reason = "NotApplied"
	TargetRestored     Reason = "TargetRestored"
	Drift              Reason = "Drift"
	ValueRefused       Reason = "ValueRefused"
	TestFailed         Reason = "TestFailed"
	RolloutReturned    Reason = "RolloutReturned"
	Promoted           Reason = "Promoted"
	Retrying           Reason = "Retrying"
	Waiting            Reason = "Waiting"
	AccountHeld        Reason = "AccountHeld"
	WindowClosed       Reason = "WindowClosed"
	AwaitingRevocation Reason = "AwaitingRevocation"
	PlanUnsafe         Reason = "PlanUnsafe"
	Denied             Reason = "Denied"
	Misconfigured      Reason = "Misconfigured"
	TriesExhausted     Reason = "TriesExhausted"
	DeadlinePassed     Reason = "DeadlinePassed"
	LockoutNear        Reason = "LockoutNear"
	CannotLook         Reason = "CannotLook"
	ByOrder            Reason = "ByOrder"
	OtherWrite         Reason = "OtherWrite"
	TargetPutBack      Reason = "TargetPutBack"
	NothingToReturnTo  Reason = "NothingToReturnTo"
	OrphanFound        Reason = "OrphanFound"
	Adopted            Reason = "Adopted"
	NotAccepted        Reason = "NotAccepted"
	GracePeriod        Reason = "GracePeriod"
	ConsumersLeft      Reason = "ConsumersLeft"
	SessionsLeft       Reason = "SessionsLeft"
	ObservationWindow  Reason = "ObservationWindow"
	SafeToRevoke       Reason = "SafeToRevoke"
	DeadlineHolds      Reason = "DeadlineHolds"
	DeadlineForces     Reason = "DeadlineForces"
	DeadlineDisables   Reason = "DeadlineDisables"
	CurrentWorks       Reason = "CurrentWorks"
	CurrentLost        Reason = "CurrentLost"
	OldStillAccepted   Reason = "OldStillAccepted"
	OldRejected        Reason = "OldRejected"
	ReturnedTo         Reason = "Returned"
	Merged             Reason = "Merged"
	Attested           Reason = "Attested"
	Submitted          Reason = "Submitted"
	FunctionSilent     Reason = "FunctionSilent"
	FunctionLate       Reason = "FunctionLate"
	Surveyed           Reason = "Surveyed"
	NobodyReads        Reason = "NobodyReads"
	AuthorityBusy      Reason = "AuthorityBusy"
	AuthorityMade      Reason = "AuthorityMade"
	Published          Reason = "Published"
	BundleHeld         Reason = "BundleHeld"
	Reissued           Reason = "Reissued"
	CertificatesHeld   Reason = "CertificatesHeld"
	Dropped            Reason = "Dropped"
	objectDeleted      Reason = "ObjectDeleted"
)

// EffectKind is something that follows from a step.
type EffectKind string

// Calls leave the process, or draw at random: at most one follows from a step, after the journal was written, and its outcome comes back as
// an Observation.
const (
	// CallLook reads the object, its policy's state and its current value.
	CallLook EffectKind = "look"
	// CallPreflight, CallSet, CallCreate, CallProbe, CallRevoke and CallTerminate are the rotator's verbs; CallSlots lists what the target has.
	CallPreflight EffectKind = "preflight"
	CallSet       EffectKind = "set"
	CallCreate    EffectKind = "create"
	CallSlots     EffectKind = "slots"
	// CallTake seals the value that the target shows in a slot.
	CallTake      EffectKind = "take"
	CallDiscard   EffectKind = "discard"
	CallProbe     EffectKind = "probe"
	CallRevoke    EffectKind = "revoke"
	CallTerminate EffectKind = "terminate"
	// CallGenerate makes a value and seals it.
	CallGenerate EffectKind = "generate"
	CallRollout  EffectKind = "rollout"
	// CallWitness asks the target for sessions and the ledger for its verdict.
	CallWitness EffectKind = "witness"
)

// The calls of the change of an authority.
const (
	// CallSurvey looks at the authority, those below it, and who reads its trust bundle.
	CallSurvey EffectKind = "survey"
	// CallMake makes the next version of an authority, or looks whether it is there; CallUnmake gives it up.
	CallMake   EffectKind = "make-authority"
	CallUnmake EffectKind = "unmake-authority"
	// CallBundle seals trust bundles. CallTrust asks the ledger who has not got them.
	CallBundle EffectKind = "bundle"
	CallTrust  EffectKind = "witness-trust"
	// CallReissue has certificates made anew, CallDeployed asks the ledger who has not got those.
	CallReissue  EffectKind = "reissue"
	CallDeployed EffectKind = "witness-certificates"
	// CallWithdraw has the old version taken back by the authority that signed it.
	CallWithdraw EffectKind = "withdraw-authority"
)

// Moves are parts of the very transaction that writes the journal.
const (
	MoveAddPending  EffectKind = "add-pending"
	MovePromote     EffectKind = "promote"
	MoveReturn      EffectKind = "return"
	MoveDropPending EffectKind = "drop-pending"
	// MoveOffer gives the pending version to the rings that are open.
	MoveOffer EffectKind = "offer"
	// MoveRetiring, MoveDisable and MoveRetired change the state of an old version.
	MoveRetiring EffectKind = "retiring"
	MoveDisable  EffectKind = "disable"
	MoveRetired  EffectKind = "retired"
	// MoveRevocation opens the run that ends Old and keeps Version. One that is open already is merged into it.
	MoveRevocation EffectKind = "open-revocation"
	// MoveAsk opens a task for a person.
	MoveAsk EffectKind = "ask"
	// MoveCall tells the registered function that the secret wants a new version.
	MoveCall EffectKind = "call-function"
	// MoveAlert tells people.
	MoveAlert EffectKind = "alert"
	// MoveClaim takes the authorities for the run, MoveTrust takes the new version of the present one into what is trusted, MovePublish stores the trust
	// bundles, MoveIssue lets other versions sign, MoveSettle ends the claims.
	MoveClaim   EffectKind = "claim-authorities"
	MoveTrust   EffectKind = "trust-authority"
	MovePublish EffectKind = "publish-bundles"
	MoveIssue   EffectKind = "issue-by-authority"
	MoveSettle  EffectKind = "settle-authorities"
)

// External reports whether the effect is a call.
func (k EffectKind) External() bool { return slices.Contains(calls, k) }

var calls = []EffectKind{CallLook, CallPreflight, CallSet, CallCreate, CallSlots, CallTake, CallDiscard, CallProbe, CallRevoke, CallTerminate,
	CallGenerate, CallRollout, CallWitness, CallSurvey, CallMake, CallUnmake, CallBundle, CallTrust, CallReissue, CallDeployed, CallWithdraw}

// ofAuthority reports whether the call belongs to the change of an authority, which has no rotator.
func (k EffectKind) ofAuthority() bool {
	return slices.Contains(calls[slices.Index(calls, CallSurvey):], k)
}

// Changes reports whether the call may change the target.
func (k EffectKind) Changes() bool {
	switch k {
	case CallSet, CallCreate, CallDiscard, CallRevoke, CallTerminate:
		return true
	}
	return false
}

// Effect is one thing that follows from a step.
type Effect struct {
	Kind EffectKind
	// Version is the one that it concerns, Keep the one that its account goes on accepting.
	Version, Keep vault.VersionID
	// Probe lists what to log in with, in order. All is true when every one is tried; otherwise the first that is accepted ends it.
	Probe []vault.VersionID
	All   bool
	// Place is where a value is made, taken or discarded.
	Place Place
	// Strict asks for a value of letters and digits only.
	Strict bool
	// Old are the versions that a new revocation ends.
	Old []vault.VersionID
	// Reason is what an alert tells.
	Reason Reason
}

// Observation is what came of a call. Its zero value means that the run was just picked up and nothing is known.
type Observation struct {
	// Of is the call whose outcome this is; "" for none.
	Of EffectKind
	// Roll is a random number in [0, 1), for waits.
	Roll float64
	// Trusted is when a person last took the clock for right that had been moved; zero for never.
	Trusted time.Time
	// Err is what went wrong; nil for a success.
	Err *Trouble
	// Class is Err's class.
	Class rotator.Class

	Facts  *Facts
	Report *Found
	Matrix map[vault.VersionID]rotator.Verdict
	// Identities are those of the accounts as which a probe logged in.
	Identities map[string]string
	Version    vault.VersionID
	Place      Place
	Slots      []Seen
	Evidence   *Witness
	Rollout    *Spread
	Terminated int
	// Survey, Made, Bundles and Children are what the calls of an authority's change found.
	Survey   *Survey
	Made     *Made
	Bundles  []Bundle
	Children []Child
	// Begun counts the certificates whose making was asked for.
	Begun int

	// Inherited is true when another process wrote the run's last entry.
	Inherited bool
	// Moved is the version that another write made current, when that is why the journal could not be written.
	Moved vault.VersionID
	// Gone is true when the object was deleted; Held when somebody else works on the account.
	Gone, Held bool
}

// Found is what a preflight reported.
type Found struct {
	Identities map[string]string
	System     string
	Snapshot   []byte
	Warnings   []string
}

// Witness is what target and ledger show of an old version.
type Witness struct {
	// Sessions counts the old credential's sessions; Told is true when the target can tell and did.
	Sessions int
	Told     bool
	// Safe is the ledger's verdict, Waiting whom it waits for, Whole since when its evidence is complete.
	Safe    bool
	Waiting []Holder
	Whole   time.Time
}

// Spread is how far a rollout has come.
type Spread struct {
	Rollout      rollout.Rollout
	Done, Return bool
}

// step is a row of the state machine.
type step struct {
	state State
	// kinds are the runs that come by; nil for all.
	kinds []store.RunKind
	// call is what the state is entered for.
	call EffectKind
	// enter makes the call or finds out that it has to wait; nil for states that only wait.
	enter func(*machine)
	// resume picks the run up in this state, when it is due or after a crash; nil enters again.
	resume func(*machine)
	// result takes the call's outcome.
	result func(*machine)
}

var (
	stepsOnce sync.Once
	stepTable []step
)

// steps is the whole machine. It is made at the first use, because its functions refer to it.
func steps() []step {
	stepsOnce.Do(func() { stepTable = makeSteps() })
	return stepTable
}

func makeSteps() []step {
	rot, rev, ca := []store.RunKind{store.RotationRun}, []store.RunKind{store.RevocationRun}, []store.RunKind{store.AuthorityRun}
	return []step{
		{Queued, rot, CallLook, (*machine).look, nil, (*machine).looked},
		{Preflight, rot, CallPreflight, (*machine).preflight, nil, (*machine).preflown},
		{Approval, append(rot, ca...), "", (*machine).wait, (*machine).wait, nil},
		{Generating, rot, CallGenerate, (*machine).generate, nil, (*machine).generated},
		{Generated, rot, "", (*machine).ready, (*machine).goSet, nil},
		{Setting, rot, CallSet, (*machine).set, (*machine).doubtSet, (*machine).wasSet},
		{Probing, rot, CallProbe, (*machine).probe, nil, (*machine).probed},
		{Testing, rot, CallProbe, (*machine).test, nil, (*machine).tested},
		{Rollout, rot, CallRollout, (*machine).spread, nil, (*machine).spreadSeen},
		{Listing, rot, CallSlots, (*machine).list, nil, (*machine).listed},
		{Creating, rot, CallCreate, (*machine).create, (*machine).doubtCreate, (*machine).created},
		{Finding, rot, CallSlots, (*machine).list, nil, (*machine).found},
		{Taking, rot, CallTake, (*machine).take, nil, (*machine).created},
		{Discarding, rot, CallDiscard, (*machine).discard, nil, (*machine).discarded},
		{Asked, rot, "", (*machine).ask, (*machine).stillAsked, nil},
		{Undoing, rot, CallProbe, (*machine).undo, nil, (*machine).undoSeen},
		{Restoring, rot, CallSet, (*machine).restore, (*machine).doubtRestore, (*machine).restoredBy},
		{Restored, rot, CallProbe, (*machine).proveRestored, nil, (*machine).restoredSeen},
		{Adopting, rot, CallProbe, (*machine).adopt, nil, (*machine).adoptSeen},

		{Awaiting, rev, CallWitness, (*machine).await, nil, (*machine).witnessed},
		{Held, rev, CallWitness, (*machine).await, nil, (*machine).witnessed},
		{Verifying, rev, CallProbe, (*machine).verify, nil, (*machine).verified},
		{Repairing, rev, CallSet, (*machine).repair, (*machine).doubtRepair, (*machine).repaired},
		{Revoking, rev, CallRevoke, (*machine).revoke, (*machine).doubtRevoke, (*machine).revoked},
		{Terminating, rev, CallTerminate, (*machine).terminate, nil, (*machine).terminated},
		{Confirming, rev, CallProbe, (*machine).confirm, nil, (*machine).confirmed},
		{Returning, rev, CallProbe, (*machine).comeBack, nil, (*machine).cameBack},

		{Surveying, ca, CallSurvey, (*machine).survey, nil, (*machine).surveyed},
		{Making, ca, CallMake, (*machine).makeNext, nil, (*machine).madeNext},
		{Unmaking, ca, CallUnmake, (*machine).unmake, nil, (*machine).unmade},
		{Publishing, ca, CallBundle, (*machine).publish, nil, (*machine).published},
		{Trusting, ca, CallTrust, (*machine).trust, nil, (*machine).trustSeen},
		{Reissuing, ca, CallReissue, (*machine).reissue, nil, (*machine).reissued},
		{Deploying, ca, CallDeployed, (*machine).deploy, nil, (*machine).deploySeen},
		{Dropping, ca, CallBundle, (*machine).drop, nil, (*machine).dropped},
		{Withdrawing, ca, CallWithdraw, (*machine).withdraw, nil, (*machine).withdrawn},

		{Stuck, nil, "", (*machine).wait, (*machine).wait, nil},
	}
}

func stepOf(s State) *step {
	all := steps()
	for i := range all {
		if all[i].state == s {
			return &all[i]
		}
	}
	return nil
}

// Point is a place at which a process can die: before or after a journal commit, or before or after a call.
type Point string

// Points lists every failpoint of runs of a kind, in the order of the states: what a crash matrix has to go through. A new state is in it by
// itself.
func Points(kind store.RunKind) []Point {
	var list []Point
	for _, s := range steps() {
		if s.kinds != nil && !slices.Contains(s.kinds, kind) {
			continue
		}
		list = append(list, beforeCommit(s.state), afterCommit(s.state))
		if s.call != "" {
			list = append(list, beforeCall(s.state), afterCall(s.state))
		}
	}
	ends := []State{Done, Aborted, Superseded}
	if kind == store.AuthorityRun {
		ends = ends[:2] // another write of a trust bundle is written over
	}
	for _, s := range ends {
		list = append(list, beforeCommit(s), afterCommit(s))
	}
	return list
}

func beforeCommit(s State) Point { return Point("before commit of " + s) }
func afterCommit(s State) Point  { return Point("after commit of " + s) }
func beforeCall(s State) Point   { return Point("before call of " + s) }
func afterCall(s State) Point    { return Point("after call of " + s) }
