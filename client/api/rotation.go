package api

import "time"

// RotationPolicy says how and when the credential in a secret changes. Lengths of time are texts such as 90d, 36h or 15m. It holds no value.
type RotationPolicy struct {
	// Strategy says how the old credential and the new one live side by side, Rotator which adapter changes them, Target how to reach the
	// target, in the rotator's own words: see RotatorList.
	Strategy string         `json:"strategy"`
	Rotator  string         `json:"rotator"`
	Target   map[string]any `json:"target,omitempty"`
	// Admin names the secret by whose credential changes are made; nil when the accounts change themselves.
	Admin *SecretReference `json:"admin,omitempty"`
	// Accounts are the logins at the target: one, or the pair that takes turns. Slots are the names of the places of values that one account has.
	Accounts []string `json:"accounts,omitempty"`
	Slots    []string `json:"slots,omitempty"`
	// MaxKeys is how many keys the target keeps for an account under n-keys; two when absent.
	MaxKeys int `json:"maxKeys,omitempty"`

	Format ValueFormat `json:"format"`
	// Value bounds new values; what the rotator asks for when absent.
	Value *ValueRules `json:"value,omitempty"`

	// AcceptGap says that logins with the old value may fail until consumers have read the new one, Candidate publishes it before: single asks for one of
	// the two. OverwriteDrift sets a value although somebody changed it at the target.
	AcceptGap      bool `json:"acceptGap,omitempty"`
	Candidate      bool `json:"candidate,omitempty"`
	OverwriteDrift bool `json:"overwriteDrift,omitempty"`

	// Schedule is when: an interval, a cron expression or an AWS rate, with its windows. BeforeExpiry is how long before the version's end a run
	// starts, MaxAge how old a version may become, Validity makes the end of new versions.
	Schedule     string `json:"schedule,omitempty"`
	BeforeExpiry string `json:"beforeExpiry,omitempty"`
	MaxAge       string `json:"maxAge,omitempty"`
	Validity     string `json:"validity,omitempty"`

	// Grace is how long the old credential stays accepted at least, MaxConnectionLife how long a consumer keeps one session, CacheTTL how long
	// it keeps a value, Observation how long the target must show no use of the old credential, ReplicationLag how long a change needs to reach every
	// copy of the target.
	Grace             string `json:"grace,omitempty"`
	MaxConnectionLife string `json:"maxConnectionLife,omitempty"`
	CacheTTL          string `json:"cacheTTL,omitempty"`
	Observation       string `json:"observation,omitempty"`
	ReplicationLag    string `json:"replicationLag,omitempty"`
	// Deadline is by when the old credential should be gone, counted from the promotion; Overdue says what happens then.
	Deadline string         `json:"deadline,omitempty"`
	Overdue  *OverduePolicy `json:"overdue,omitempty"`
	// Terminate ends the sessions of the old account when it was revoked.
	Terminate bool `json:"terminate,omitempty"`

	// Approval holds each run before it changes anything until a person agrees.
	Approval bool `json:"approval,omitempty"`
	// DependsOn names the secrets that have to settle before this one changes.
	DependsOn []SecretReference `json:"dependsOn,omitempty"`
	Manual    *ManualPolicy     `json:"manual,omitempty"`
	// Lease bounds the leases of a dynamic credential.
	Lease *LeaseRules `json:"lease,omitempty"`
	// Function is a program of your own that stores new values and changes the target; what it stores is pending until a login with it succeeds.
	Function *RotationFunction `json:"function,omitempty"`
	// Authority is the certificate authority whose trust bundle the secret is, and Unread lets it change although nobody is known to read the bundle: see PublishTrust.
	Authority string `json:"authority,omitempty"`
	Unread    bool   `json:"unread,omitempty"`
	// Rollout spreads a new version ring by ring before it is everybody's.
	Rollout map[string]any `json:"rollout,omitempty"`
	// Concurrency lowers how many runs may be at work on this target at once. Paused keeps the policy and starts no run by itself.
	Concurrency int  `json:"concurrency,omitempty"`
	Paused      bool `json:"paused,omitempty"`
}

// SecretReference names a secret. Without a vault it is in the same one.
type SecretReference struct {
	Vault string `json:"vault,omitempty"`
	Name  string `json:"name"`
}

// ValueFormat says how a credential is written in a value: raw, the value alone, json, an object of which two members change, or url, a connection URL
// of which the user information does.
type ValueFormat struct {
	Kind     string `json:"kind"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// ValueRules bound the values that are made.
type ValueRules struct {
	Length   int    `json:"length"`
	Alphabet string `json:"alphabet"`
	// Classes asks for at least one lower-case letter, one upper-case letter and one digit.
	Classes bool `json:"classes,omitempty"`
}

// OverduePolicy says what a deadline does: hold, force or disable-then-delete.
type OverduePolicy struct {
	Then     string `json:"then,omitempty"`
	Approval bool   `json:"approval,omitempty"`
}

// ManualPolicy says who changes the target by hand, and when they are reminded.
type ManualPolicy struct {
	Assignee     string   `json:"assignee"`
	Team         string   `json:"team,omitempty"`
	Within       string   `json:"within,omitempty"`
	Remind       []string `json:"remind,omitempty"`
	Escalate     string   `json:"escalate,omitempty"`
	Instructions string   `json:"instructions,omitempty"`
}

// RotationFunction registers the principal as which a function writes. Within is how long it has for each of its steps; 15m when absent.
type RotationFunction struct {
	Principal string `json:"principal"`
	Within    string `json:"within,omitempty"`
}

// RotationPolicyInfo is a policy as it is in force.
type RotationPolicyInfo struct {
	Vault  string         `json:"vault"`
	Name   string         `json:"name"`
	Policy RotationPolicy `json:"policy"`
	// DueAt is when the next run is due and Cause why; absent for never by itself. Succeeded is when a run last made a version current.
	DueAt     *time.Time `json:"dueAt,omitempty"`
	Cause     string     `json:"cause,omitempty"`
	Succeeded *time.Time `json:"succeeded,omitempty"`
	Revision  int64      `json:"revision"`
}

// RotationPolicyPage is a page of policies.
type RotationPolicyPage struct {
	Items []RotationPolicyInfo `json:"items"`
	Next  string               `json:"next,omitempty"`
}

// The causes that people give for a run.
const (
	OnDemand        = "on-demand"
	Leak            = "leak"
	Emergency       = "emergency"
	FirstDeployment = "first-deployment"
)

// StartRotation begins a run now. A leak names the version that leaked, and since when it was exposed.
type StartRotation struct {
	Cause   string     `json:"cause"`
	Note    string     `json:"note,omitempty"`
	Version string     `json:"version,omitempty"`
	Exposed *time.Time `json:"exposed,omitempty"`
}

// The kinds of runs: the change itself, the end of what it replaced, and the change of a certificate authority.
const (
	RotationRun   = "rotation"
	RevocationRun = "revocation"
	AuthorityRun  = "authority"
)

// The states of runs that programs ask for. The last three are final.
const (
	RunStuck      = "stuck"
	RunDone       = "done"
	RunAborted    = "aborted"
	RunSuperseded = "superseded"
)

// Rotation is a run: a rotation or a revocation.
type Rotation struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	Vault string `json:"vault"`
	Name  string `json:"name"`
	// State is where the run stands, Reason why, Open false once it has ended. Urgent runs go before all others.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Open   bool   `json:"open"`
	Urgent bool   `json:"urgent,omitempty"`
	// Revision counts the entries of the run's journal: see the parameter of the same name when it is read.
	Revision int64 `json:"revision"`

	// Cause is why it began, Actor who asked for it and Note what they said; LeakedVersion and Exposed belong to a leak. Parent is the run that it follows.
	Cause         string     `json:"cause"`
	Actor         string     `json:"actor,omitempty"`
	ActorName     string     `json:"actorName,omitempty"`
	Note          string     `json:"note,omitempty"`
	LeakedVersion string     `json:"leakedVersion,omitempty"`
	Exposed       *time.Time `json:"exposed,omitempty"`
	Parent        string     `json:"parent,omitempty"`

	Strategy string `json:"strategy"`
	Rotator  string `json:"rotator,omitempty"`
	// Account is the login that changes, Slot its place. System is what the target says that it is.
	Account  string   `json:"account,omitempty"`
	Slot     string   `json:"slot,omitempty"`
	System   string   `json:"system,omitempty"`
	Warnings []string `json:"warnings,omitempty"`

	// Base is the version that was current at the beginning, Pending the run's own. A revocation keeps Current and ends Old, the first one next.
	Base    string   `json:"base,omitempty"`
	Pending string   `json:"pending,omitempty"`
	Current string   `json:"current,omitempty"`
	Old     []string `json:"old,omitempty"`

	Created time.Time `json:"created"`
	// Since is when the run entered its state, Next when it is looked at again; absent while it waits for a person.
	Since time.Time  `json:"since"`
	Next  *time.Time `json:"next,omitempty"`
	Ended *time.Time `json:"ended,omitempty"`
	// Tries counts failures in a row, LastError is the last one. Stuck is where the run came to a halt.
	Tries     int              `json:"tries,omitempty"`
	LastError *RotationFailure `json:"lastError,omitempty"`
	Stuck     string           `json:"stuck,omitempty"`
	// Matrix says which versions the target last accepted: accepted, rejected or unknown.
	Matrix map[string]string `json:"matrix,omitempty"`

	// Promoted is when Current became so, Deadline by when the old version should be gone, Waiting who is waited for, Forced why nobody is any more.
	Promoted *time.Time       `json:"promoted,omitempty"`
	Deadline *time.Time       `json:"deadline,omitempty"`
	Waiting  []RotationHolder `json:"waiting,omitempty"`
	Forced   string           `json:"forced,omitempty"`

	Steps  []RotationStep  `json:"steps"`
	Orders []RotationOrder `json:"orders,omitempty"`
	// Ordered is true while an order waits to be carried out.
	Ordered bool `json:"ordered,omitempty"`
	// Incident is the leak that the run answers.
	Incident *Incident `json:"incident,omitempty"`
	// Succession is how far the change of an authority has come.
	Succession *AuthorityProgress `json:"succession,omitempty"`
}

// RotationFailure is what went wrong last, without values.
type RotationFailure struct {
	Class   string    `json:"class"`
	Message string    `json:"message"`
	State   string    `json:"state"`
	At      time.Time `json:"at"`
}

// RotationHolder is a consumer that may still need an old version.
type RotationHolder struct {
	Principal string     `json:"principal,omitempty"`
	Name      string     `json:"name,omitempty"`
	Instance  string     `json:"instance,omitempty"`
	Why       string     `json:"why,omitempty"`
	Last      *time.Time `json:"last,omitempty"`
}

// RotationStep is one move of a run.
type RotationStep struct {
	At     time.Time `json:"at"`
	From   string    `json:"from,omitempty"`
	To     string    `json:"to"`
	Reason string    `json:"reason,omitempty"`
}

// The orders that people give.
const (
	ApproveOrder = "approve"
	AbortOrder   = "abort"
	ReplayOrder  = "replay"
	AdoptOrder   = "adopt"
	ForceOrder   = "force"
)

// RotationOrder is what a person decided about a run.
type RotationOrder struct {
	Order   string    `json:"order"`
	At      time.Time `json:"at"`
	By      string    `json:"by"`
	ByName  string    `json:"byName,omitempty"`
	Note    string    `json:"note,omitempty"`
	Version string    `json:"version,omitempty"`
}

// OrderRotation tells a run what to do. Adopt names the version that the target accepts; Attested vouches for it where nothing can look.
type OrderRotation struct {
	Order    string `json:"order"`
	Note     string `json:"note,omitempty"`
	Version  string `json:"version,omitempty"`
	Attested bool   `json:"attested,omitempty"`
}

// RotationPage is a page of runs, newest first.
type RotationPage struct {
	Items []Rotation `json:"items"`
	Next  string     `json:"next,omitempty"`
	// Paused is why nothing is started by schedule now; absent when it is.
	Paused *SchedulePause `json:"paused,omitempty"`
}

// RotationPlan is what a run would do now, found out without a change at the target.
type RotationPlan struct {
	Vault string `json:"vault"`
	Name  string `json:"name"`
	// Ready is true when a run can begin now; otherwise Problem says why not, and Reason is its code.
	Ready   bool   `json:"ready"`
	Problem string `json:"problem,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Approval is true when the run would wait for somebody to agree, Gap when logins fail from the change until consumers have read the new value.
	Approval bool `json:"approval,omitempty"`
	Gap      bool `json:"gap,omitempty"`

	Strategy string `json:"strategy"`
	Rotator  string `json:"rotator,omitempty"`
	// Current is the version that would be replaced, Holding the login that it holds, Account and Slot where the new value would go.
	Current string `json:"current,omitempty"`
	Holding string `json:"holding,omitempty"`
	Account string `json:"account,omitempty"`
	Slot    string `json:"slot,omitempty"`
	// System and Warnings are what was found at the target.
	System   string   `json:"system,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// LengthSeconds is how long the rotation would take without waits for people. LengthMeasured is true when it is that of the last run, and not an estimate.
	LengthSeconds  float64 `json:"lengthSeconds,omitempty"`
	LengthMeasured bool    `json:"lengthMeasured,omitempty"`
	// Revoke are the versions that would go, EarliestSeconds after the promotion at the soonest. After DeadlineSeconds the policy does what Overdue says.
	Revoke          []string         `json:"revoke,omitempty"`
	EarliestSeconds float64          `json:"earliestSeconds,omitempty"`
	DeadlineSeconds float64          `json:"deadlineSeconds,omitempty"`
	Overdue         string           `json:"overdue,omitempty"`
	AtRisk          []RotationHolder `json:"atRisk"`
	// Authorities would change, in this order, Certificates be made anew, and Bundles published, in the change of an authority.
	Authorities  []AuthorityHeir `json:"authorities,omitempty"`
	Certificates []string        `json:"certificates,omitempty"`
	Bundles      []string        `json:"bundles,omitempty"`
}

// RevokeVersion ends an old version at its target. With Force nobody is waited for, and Reason says why.
type RevokeVersion struct {
	Force  bool   `json:"force,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Rotator describes an adapter to one kind of target.
type Rotator struct {
	Name       string   `json:"name"`
	Title      string   `json:"title"`
	Strategies []string `json:"strategies"`
	// Evidence is what the target shows of the use of a credential: none, account or credential.
	Evidence string `json:"evidence"`
	// SelfService is true when an account may change its own value, so that no administrator is needed.
	SelfService bool       `json:"selfService"`
	Value       ValueRules `json:"value"`
	// Verified are the systems against which the conformance suite passes; everything else is unverified.
	Verified            []TargetSystem `json:"verified"`
	Unverified          []TargetSystem `json:"unverified"`
	LoginsBeforeLockout int            `json:"loginsBeforeLockout,omitempty"`
	// Config are the members of a policy's target.
	Config []TargetMember `json:"config"`
}

// TargetSystem is a product in one version. By says what stood in for it in tests; it is empty for the real one.
type TargetSystem struct {
	Product string `json:"product"`
	Version string `json:"version"`
	By      string `json:"by,omitempty"`
}

// TargetMember is a member of a target's configuration.
type TargetMember struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required,omitempty"`
	Help     string `json:"help"`
}

// RotatorList is every rotator of the server.
type RotatorList struct {
	Items []Rotator `json:"items"`
}

// SecretAge is how old the current version of a secret is, against what is allowed.
type SecretAge struct {
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	Created    time.Time `json:"created"`
	AgeSeconds int64     `json:"ageSeconds"`
	// LimitSeconds is how old it may become, absent when nothing says; Share is the age as a part of it. LimitBy is what decides: "policy", "expiry",
	// "exemption", "vault" or "server"; absent when nothing does.
	LimitSeconds int64         `json:"limitSeconds,omitempty"`
	Share        float64       `json:"share,omitempty"`
	LimitBy      string        `json:"limitBy,omitempty"`
	Exemption    *AgeExemption `json:"exemption,omitempty"`
	// Over is true when the version is older than allowed, or has expired.
	Over bool `json:"over"`
	// Policy is false for a secret that nothing rotates. Paused policies start nothing by themselves.
	Policy    bool       `json:"policy"`
	Paused    bool       `json:"paused,omitempty"`
	Strategy  string     `json:"strategy,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	DueAt     *time.Time `json:"dueAt,omitempty"`
	Cause     string     `json:"cause,omitempty"`
	Succeeded *time.Time `json:"succeeded,omitempty"`
}

// AgeExemption is why a secret may become older than the default.
type AgeExemption struct {
	By    string    `json:"by"`
	At    time.Time `json:"at"`
	Why   string    `json:"why"`
	Until time.Time `json:"until"`
}

// SecretAgePage is a page of ages, in the order of names.
type SecretAgePage struct {
	Items []SecretAge `json:"items"`
	Next  string      `json:"next,omitempty"`
}

// RotationTask asks a person to do the step of a run that no program can do.
type RotationTask struct {
	ID    string `json:"id"`
	Run   string `json:"run"`
	Vault string `json:"vault"`
	// Name is the secret's.
	Name         string    `json:"name"`
	Open         bool      `json:"open"`
	Assignee     string    `json:"assignee"`
	Team         string    `json:"team,omitempty"`
	Instructions string    `json:"instructions,omitempty"`
	Opened       time.Time `json:"opened"`
	Due          time.Time `json:"due"`
	// Reminders are those that are still to go out, Escalate is when the team hears of it.
	Reminders []time.Time `json:"reminders,omitempty"`
	Escalate  time.Time   `json:"escalate"`
	Escalated bool        `json:"escalated,omitempty"`
	// Acknowledged is when somebody took it on, and By who; Closed when it was over.
	Acknowledged *time.Time `json:"acknowledged,omitempty"`
	By           string     `json:"by,omitempty"`
	Closed       *time.Time `json:"closed,omitempty"`
}

// RotationTaskPage is a page of tasks.
type RotationTaskPage struct {
	Items []RotationTask `json:"items"`
	Next  string         `json:"next,omitempty"`
}

// SubmitTask hands in the value that a person set at the target. Attested vouches for it where nothing can look.
type SubmitTask struct {
	Value       *Text   `json:"value,omitempty"`
	ValueBase64 *Binary `json:"valueBase64,omitempty"`
	Attested    bool    `json:"attested,omitempty"`
}
