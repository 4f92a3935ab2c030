package rotation

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
)

// Policy says how and when the credential in a secret changes. It holds no value.
type Policy struct {
	// Strategy says how the old credential and the new one live side by side, Rotator which adapter changes them, Target how to reach the
	// target, in the rotator's own words.
	Strategy rotator.Strategy `json:"strategy"`
	Rotator  string           `json:"rotator"`
	Target   json.RawMessage  `json:"target,omitempty"`
	// Admin names the secret by whose credential changes are made; nil when the accounts change themselves.
	Admin *Reference `json:"admin,omitempty"`
	// Accounts are the logins at the target: one, or the pair that takes turns.
	Accounts []string `json:"accounts,omitempty"`
	// Slots are the names of the places of values that one account has, such as key1 and key2.
	Slots []string `json:"slots,omitempty"`
	// MaxKeys is how many keys the target keeps for an account under n-keys; 0 means two.
	MaxKeys int `json:"maxKeys,omitempty"`

	Format Format `json:"format"`
	// Value bounds new values; nil means what the rotator asks for.
	Value *rotator.ValueRules `json:"value,omitempty"`

	// AcceptGap says that logins with the old value may fail between the change and the consumers' next read. Single asks for it, or for
	// Candidate: readers that understand it can then get the new value, before it is set, to try when the current one is refused.
	AcceptGap bool `json:"acceptGap,omitempty"`
	Candidate bool `json:"candidate,omitempty"`
	// OverwriteDrift lets the engine set its value although the target accepts none that it knows: somebody changed it there.
	OverwriteDrift bool `json:"overwriteDrift,omitempty"`

	// Schedule is a rule of when: an interval, a cron expression or an AWS rate, with its windows. Empty for never by itself.
	Schedule string `json:"schedule,omitempty"`
	// BeforeExpiry is how long before the version's exp a run starts; MaxAge how old a version may become.
	BeforeExpiry Duration `json:"beforeExpiry,omitempty"`
	MaxAge       Duration `json:"maxAge,omitempty"`
	// Validity makes the exp of new versions; 0 for none.
	Validity Duration `json:"validity,omitempty"`

	// Grace is how long the old credential stays accepted at least. MaxConnectionLife is how long a consumer keeps one session, CacheTTL
	// how long it keeps a value before it asks again.
	Grace             Duration `json:"grace,omitempty"`
	MaxConnectionLife Duration `json:"maxConnectionLife,omitempty"`
	CacheTTL          Duration `json:"cacheTTL,omitempty"`
	// Observation is how long the target must show no use of the old credential, where it can show it.
	Observation Duration `json:"observation,omitempty"`
	// ReplicationLag is how long a change needs to reach every copy of the target.
	ReplicationLag Duration `json:"replicationLag,omitempty"`
	// Deadline is by when the old credential should be gone, counted from the promotion; Overdue says what happens then. 0 waits for ever.
	Deadline Duration `json:"deadline,omitempty"`
	Overdue  Overdue  `json:"overdue,omitzero"`
	// Terminate ends the sessions of the old account when it was revoked.
	Terminate bool `json:"terminate,omitempty"`

	// Approval holds each run before it changes anything until a person agrees.
	Approval bool `json:"approval,omitempty"`
	// DependsOn names the secrets that have to settle before this one changes: it follows them.
	DependsOn []Reference `json:"dependsOn,omitempty"`
	Manual    *Manual     `json:"manual,omitempty"`
	// Lease bounds the leases of a dynamic credential, and is nil for all others.
	Lease *LeaseRules `json:"lease,omitempty"`
	// Function is a program of the users' own that makes the new value and changes the target; nil when the engine does.
	Function *Function `json:"function,omitempty"`
	// Authority is the certificate whose trust bundle the secret is, with the strategy certificate-overlap, and Unread lets the authority change although nobody is known
	// to read the bundle: those who trust it have it from elsewhere.
	Authority string `json:"authority,omitempty"`
	Unread    bool   `json:"unread,omitempty"`
	// Rollout spreads a new version ring by ring before it is everybody's, in the words of the rollout engine.
	Rollout json.RawMessage `json:"rollout,omitempty"`
	// Concurrency lowers how many runs may be at work on this target at once; 0 means the server's limit.
	Concurrency int `json:"concurrency,omitempty"`
	// Paused keeps the policy and starts no run by itself.
	Paused bool `json:"paused,omitempty"`
}

// Reference names a secret. An empty vault is the policy's own.
type Reference struct {
	Vault string `json:"vault,omitempty"`
	Name  string `json:"name"`
}

// Format says how a credential is written in a version's value.
type Format struct {
	// Kind is Raw, the value alone, JSON, an object of which two members change and the others stay, or URL, of which the user information does.
	Kind FormatKind `json:"kind"`
	// Username and Password name the members of a JSON value; by default "username" and "password".
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// FormatKind is a way to write a credential.
type FormatKind string

// The formats of values.
const (
	Raw  FormatKind = "raw"
	JSON FormatKind = "json"
	URL  FormatKind = "url"
)

// Overdue says what happens to a revocation at its deadline.
type Overdue struct {
	Then Then `json:"then,omitempty"`
	// Approval asks a second person to agree before Force or DisableThenDelete.
	Approval bool `json:"approval,omitempty"`
}

// Then is what a deadline does.
type Then string

// What a deadline does. The zero value holds.
const (
	// Hold waits on, visibly, until a person decides.
	Hold Then = "hold"
	// Force revokes under the consumers that are left.
	Force Then = "force"
	// DisableThenDelete first disables the old version, so that nobody fetches it any more, and revokes one grace later.
	DisableThenDelete Then = "disable-then-delete"
)

// Manual says who changes the target by hand, and when they are reminded.
type Manual struct {
	// Assignee is a person or a queue, as the people who read it write it. Team hears of it when the assignee does not act.
	Assignee string `json:"assignee"`
	Team     string `json:"team,omitempty"`
	// Within is by when the step should be done, counted from the day the task is opened.
	Within Duration `json:"within,omitempty"`
	// Remind is how long before the end reminders go out; empty means 30, 14, 7 and 1 days.
	Remind []Duration `json:"remind,omitempty"`
	// Escalate tells the team as well, so long before the end; 0 means at the end.
	Escalate Duration `json:"escalate,omitempty"`
	// Instructions tell what to do, without values.
	Instructions string `json:"instructions,omitempty"`
}

// DefaultReminders are those of a manual step that names none.
var DefaultReminders = []Duration{Duration(30 * day), Duration(14 * day), Duration(7 * day), Duration(day)}

// DefaultWithin is by when a manual step should be done that does not say.
const DefaultWithin = Duration(30 * day)

// Mistake is one thing that is wrong with a policy. Member says where, Problem what, Cure what to do.
type Mistake struct {
	Member  string `json:"member"`
	Problem string `json:"problem"`
	Cure    string `json:"cure"`
}

// String is one sentence.
func (m Mistake) String() string { return m.Member + ": " + m.Problem + ": " + m.Cure }

// ParsePolicy reads a policy and refuses members that it does not know: a misspelled one must not count as absent. It reports every mistake
// of form at once; whether the policy makes sense is Check's to say.
func ParsePolicy(data []byte) (*Policy, []Mistake) {
	p, mistakes := readForm(data)
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	return p, nil
}

// CheckDocument reports everything that is wrong with a policy that cannot be read as a whole: mistakes of form, and what the rest of it says that makes no sense.
// The first mistake in a member hides no others, but those in the same one.
func CheckDocument(data []byte, around func(*Policy) Surroundings) []Mistake {
	p, mistakes := readForm(data)
	if p == nil {
		return mistakes
	}
	for _, m := range p.Check(around(p)) {
		if !slices.ContainsFunc(mistakes, func(form Mistake) bool { return form.Member == m.Member }) {
			mistakes = append(mistakes, m)
		}
	}
	return mistakes
}

// readForm reads what of a policy can be read. It returns nil for what is no policy at all.
func readForm(data []byte) (*Policy, []Mistake) {
	var members map[string]json.RawMessage
	if err := strict(data, &members); err != nil {
		return nil, []Mistake{{"policy", "it is not a JSON object (" + err.Error() + ")", "give one JSON object"}}
	}
	p := &Policy{}
	v := reflect.ValueOf(p).Elem()
	fields := make(map[string]reflect.Value)
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = v.Field(i)
	}
	var mistakes []Mistake
	for _, name := range sortedKeys(members) {
		field, ok := fields[name]
		if !ok {
			mistakes = append(mistakes, Mistake{clip(name), "there is no such member", "see the members of a policy, and mind their case"})
			continue
		}
		if err := strict(members[name], field.Addr().Interface()); err != nil {
			mistakes = append(mistakes, Mistake{name, "it cannot be read (" + err.Error() + ")", "see what this member holds"})
			field.SetZero()
		}
	}
	return p, mistakes
}

// strict reads one JSON value and nothing behind it.
func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errMore
	}
	return nil
}

// runs is the kind of the runs that the policy starts.
func (p *Policy) runs() store.RunKind {
	if strategies[p.Strategy].authority {
		return store.AuthorityRun
	}
	return store.RotationRun
}

// overdue is what happens at the deadline.
func (p *Policy) overdue() Then {
	if p.Overdue.Then == "" {
		return Hold
	}
	return p.Overdue.Then
}

// pair returns the names of the members of a JSON value.
func (f Format) members() (username, password string) {
	username, password = "username", "password"
	if f.Username != "" {
		username = f.Username
	}
	if f.Password != "" {
		password = f.Password
	}
	return username, password
}

func (d Duration) after(t time.Time) time.Time { return t.Add(time.Duration(d)) }
