package audit

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"
)

// ID identifies the operation that a record tells of. A change and its audit row share it, and so does every copy of
// the row: it is what duplicates are found by.
type ID [16]byte

// NewID returns a random id.
func NewID() ID {
	var id ID
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails
	return id
}

// String returns 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Outcome is how the decision ended.
type Outcome uint8

// The outcomes. The zero value is none of them and is refused.
const (
	Allowed Outcome = 1 + iota // decided and done
	Denied                     // refused: unauthenticated, forbidden, throttled
	Failed                     // allowed, and then not done
	Unknown                    // a change that was allowed: the store did not say whether it was done

	lastOutcome = Unknown
)

var outcomeNames = [...]string{"", "allowed", "denied", "failed", "unknown"}

// String returns the outcome's word, as the CLI and the exports show it.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "outcome(" + strconv.Itoa(int(o)) + ")"
}

// ParseOutcome returns the outcome that String names, or zero.
func ParseOutcome(s string) Outcome {
	for i, name := range outcomeNames[1:] {
		if s == name {
			return Outcome(i + 1)
		}
	}
	return 0
}

// Caller is who asked, as authenticated. It is zero for a caller who proved nothing.
type Caller struct {
	PrincipalID string // object id of the principal
	AppID       string // client id of the application that acts
	UPN         string // user principal name, of a person
	Kind        string // user, servicePrincipal, managedIdentity
	Tenant      string // the tenant that authenticated the caller
}

// Record tells of one decision. It never holds a value, key or token. Texts longer than their limit (see codec.go) are
// cut, with the mark "[cut]" at their end.
type Record struct {
	// Time is when it was decided, in UTC and whole microseconds; Append fills in the present.
	Time time.Time
	// ID of the operation; Append fills in a random one.
	ID ID
	// Node is the persistent id of the server; Append fills it in.
	Node string
	// Tenant is the immutable id of the tenant under whose key the record is sealed; "" is the installation itself.
	Tenant string

	VaultID, VaultName string
	Door               string // azure, aws, oauth, native
	Action             string // what was asked for, in the words of the authorisation engine
	Caller             Caller
	// ClientAddress is the caller's address, or the network's first one when ClientBits is set.
	ClientAddress netip.Addr
	// ClientBits is the length of the network prefix of an aggregated record; 0 means one address.
	ClientBits uint8
	// Instance is what the caller says it is, beyond its principal: the ledger's second coordinate.
	Instance                        string
	ObjectKind, ObjectName, Version string
	Outcome                         Outcome
	Reason                          string // a fault.Reason, or why it was allowed
	Status                          uint16 // of the HTTP answer
	CorrelationID, ClientRequestID  string
	APIVersion, UserAgent           string
	Path                            string // the request's URI without its query; absolute where the door knows the host
	Duration                        time.Duration
	// Count is how many like decisions the record stands for; 0 and 1 are one.
	Count uint64
	// Operation is the name of the endpoint that was called, such as SecretGet; several endpoints can take one action.
	Operation string
	// Scope is where an action of the control plane happens, as the path of a resource; "" for what happens in a vault.
	Scope string
	// Detail says what else was decided, in the words of the operation, such as why a person did it. It holds no value.
	Detail string

	// Index is the position in the log, which is the leaf's index. Readers fill it in.
	Index int64
	// Shredded says that the tenant's key is destroyed: Time, ID, Tenant and Index are all that is left. Readers fill it
	// in.
	Shredded bool
	// Change says that it came from the database, where logs of several nodes may have taken it from. Readers fill it in.
	Change bool
	// Log is the origin of the log, where there are several; readers of all of them fill it in.
	Log string
}

// Cursor returns the place behind the record, for Filter.Cursor.
func (r *Record) Cursor() string { return strconv.FormatInt(r.Index, 10) }
