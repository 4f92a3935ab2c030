package ledger

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// The operations by whose audit records consumers and people speak to the ledger. What they say stands in the record's detail.
const (
	AckOperation     = "VersionAck"
	ClearOperation   = "VersionClear"
	DeliverOperation = "VersionDeliver"
)

// Level is how far a consumer has come with a version that was delivered to it.
type Level string

// The levels of an acknowledgement.
const (
	// Loaded: it will use the version next.
	Loaded Level = "loaded"
	// Used: it signed in with the version, and uses no other any more.
	Used Level = "used"
)

// Bounds of a declared poll interval: one that is shorter would make a busy consumer look gone, one that is longer is as good as none.
const (
	MinPoll = time.Second
	MaxPoll = 31 * 24 * time.Hour
)

// Ack is an acknowledgement.
type Ack struct {
	Level Level
	// Poll, when not zero, is the longest time between two reads of a consumer that is alive.
	Poll time.Duration
}

// Check reports whether the acknowledgement says something that can be true.
func (a Ack) Check() error {
	if a.Level != Loaded && a.Level != Used {
		return fault.New(fault.Invalid, "the level of an acknowledgement is %q or %q", Loaded, Used)
	}
	if a.Poll != 0 && (a.Poll < MinPoll || a.Poll > MaxPoll) {
		return fault.New(fault.Invalid, "the poll interval has to lie between %s and %s; leave it out when there is none", MinPoll, MaxPoll)
	}
	return nil
}

// Detail is the acknowledgement in an audit record.
func (a Ack) Detail() string {
	if a.Poll == 0 {
		return string(a.Level)
	}
	return string(a.Level) + ", polls every " + a.Poll.String()
}

// ParseAck is the inverse of Detail.
func ParseAck(detail string) (Ack, error) {
	level, poll, found := strings.Cut(detail, ", polls every ")
	a := Ack{Level: Level(level)}
	if found {
		d, err := time.ParseDuration(poll)
		if err != nil || d.String() != poll || d == 0 {
			return Ack{}, fmt.Errorf("%q is no acknowledgement", detail)
		}
		a.Poll = d
	}
	if err := a.Check(); err != nil {
		return Ack{}, err
	}
	return a, nil
}

// MaxWhy bounds the reason of a clearance, in bytes.
const MaxWhy = 256

// Clearance is what a person vouches for: the consumer does not use the version any more.
type Clearance struct {
	Consumer
	Why string
}

// Check reports whether the clearance can be recorded.
func (c Clearance) Check() error {
	switch {
	case strings.TrimSpace(c.Why) == "" || len(c.Why) > MaxWhy:
		return fault.New(fault.Invalid, "a clearance needs a reason of 1 to %d bytes", MaxWhy)
	case c.Instance == "" || strings.ContainsAny(string(c.Principal), " \"") || len(c.Detail()) > audit.MaxDetail:
		return fault.New(fault.Invalid, "a clearance names the principal and the instance as the list of holders shows them")
	}
	return nil
}

// Detail is the clearance in an audit record.
func (c Clearance) Detail() string {
	return string(c.Principal) + " " + strconv.Quote(c.Instance) + ": " + c.Why
}

// ParseClearance is the inverse of Detail.
func ParseClearance(detail string) (Clearance, error) {
	bad := fmt.Errorf("%q is no clearance", detail)
	who, rest, _ := strings.Cut(detail, " ")
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return Clearance{}, bad
	}
	instance, err := strconv.Unquote(quoted)
	why, found := strings.CutPrefix(rest[len(quoted):], ": ")
	c := Clearance{Consumer: Consumer{Principal: principal.ID(who), Instance: instance}, Why: why}
	if err != nil || !found || c.Check() != nil || c.Detail() != detail {
		return Clearance{}, bad
	}
	return c, nil
}

// Copy is a delivery outside the doors, made in the name of whoever asked for it.
type Copy struct {
	// How is Pushed or Exported.
	How string
	// Place says where the copy is now, such as a host and a file.
	Place string
}

// The kinds of copies. Sealed ones are backups, which only this installation can read.
const (
	Pushed   = "push"
	Exported = "export"
	Sealed   = "backup"
)

// maxPlace bounds the place of a copy, in bytes.
const maxPlace = 400

// Check reports whether the copy can be recorded.
func (c Copy) Check() error {
	if c.How != Pushed && c.How != Exported || c.Place == "" || len(c.Place) > maxPlace || strings.ToValidUTF8(c.Place, "") != c.Place {
		return fault.New(fault.Invalid, "a copy is a %s or an %s to a place of 1 to %d bytes", Pushed, Exported, maxPlace)
	}
	return nil
}

// Detail is the copy in an audit record.
func (c Copy) Detail() string { return c.How + " to " + c.Place }

// ParseCopy is the inverse of Detail.
func ParseCopy(detail string) (Copy, error) {
	how, place, _ := strings.Cut(detail, " to ")
	c := Copy{How: how, Place: place}
	if err := c.Check(); err != nil {
		return Copy{}, err
	}
	return c, nil
}

// The actions by which values leave, as records name them.
var (
	getSecret    = authz.SecretGet.String()
	backupSecret = authz.SecretBackup.String()
)

// said is what a record tells the ledger: facts about one row. Refused ones count only when the version is retired.
type said struct {
	facts   Holding
	refused bool
}

// read takes from a record what concerns the ledger. Most records of changes do not.
func read(r *audit.Record, instance string, weak bool) (s said, ok bool) {
	if r.Shredded || r.VaultID == "" || r.ObjectName == "" || r.Caller.PrincipalID == "" || r.Outcome == audit.Denied {
		return s, false
	}
	refused := r.Outcome == audit.Failed
	if refused && (r.Action != getSecret || r.Operation == AckOperation || r.Operation == DeliverOperation || r.Version == "") {
		return s, false
	}
	f := &s.facts
	f.Tenant, f.Vault, f.Kind, f.NameKey = vault.TenantID(r.Tenant), vault.ID(r.VaultID), vault.Kind(r.ObjectKind), vault.NameKey(r.ObjectName)
	f.Version, f.Principal = vault.VersionID(r.Version), principal.ID(r.Caller.PrincipalID)
	if r.Door != "" && r.ClientAddress.IsValid() {
		f.Address, f.AddressAt = r.ClientAddress.String(), r.Time
	}
	switch {
	case refused:
		s.refused, f.Refused = true, r.Time
	case r.Operation == AckOperation:
		a, err := ParseAck(r.Detail)
		if err != nil {
			return s, false
		}
		f.Loaded = r.Time
		if a.Level == Used {
			f.Used = r.Time
		}
		if a.Poll != 0 {
			f.Poll, f.PollAt = a.Poll, r.Time
		}
	case r.Operation == ClearOperation:
		c, err := ParseClearance(r.Detail)
		if err != nil {
			return s, false
		}
		f.Principal, f.Instance, f.Weak = c.Principal, c.Instance, strings.HasPrefix(c.Instance, byAddress)
		f.Cleared, f.By, f.Why = r.Time, r.Caller.PrincipalID, c.Why
		f.Address, f.AddressAt = "", time.Time{}
		return s, true
	case r.Operation == DeliverOperation:
		c, err := ParseCopy(r.Detail)
		if err != nil {
			return s, false
		}
		f.Instance, f.First, f.Last, f.Via = byPlace+c.Place, r.Time, r.Time, []string{c.How}
		return s, true
	case r.Action == getSecret && r.Version != "":
		f.First, f.Last, f.Via = r.Time, r.Time, []string{r.Door}
	case r.Action == backupSecret:
		f.Version, f.First, f.Last, f.Via = "", r.Time, r.Time, []string{Sealed}
	default:
		return s, false
	}
	f.Instance, f.Weak = instance, weak
	return s, true
}
