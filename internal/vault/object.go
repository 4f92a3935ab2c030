package vault

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Kind is the kind of an object.
type Kind string

// The kinds of objects.
const (
	Secret      Kind = "secret"
	Key         Kind = "key"
	Certificate Kind = "certificate"
	// Issuer and Contacts belong to certificates: who issues them, and who is told of them. No door shows them as objects.
	Issuer   Kind = "issuer"
	Contacts Kind = "contacts"
	// AccessRule says who may enrol with an issuer. No door shows it as an object either.
	AccessRule Kind = "access-rule"
)

// Kinds are all of them. Whatever goes over everything in a vault goes over these, so that no kind is forgotten: a sealed value that is passed over when a
// key is retired is lost.
func Kinds() []Kind { return []Kind{Certificate, Key, Secret, Issuer, Contacts, AccessRule} }

// Label points from an object to one of its versions.
type Label string

// The labels that the product itself moves. Any other is a caller's own.
const (
	Current  Label = "current"
	Previous Label = "previous"
	Pending  Label = "pending"
	// Candidate points to a pending version that readers may ask for by this label alone, and try when the target refuses the current one.
	Candidate Label = "candidate"
)

// Object is a name with versions.
type Object struct {
	ID      ObjectID
	Vault   ID
	Kind    Kind
	Name    string
	Created time.Time
	// Current is the version that a reader gets who names none; empty while there is none.
	Current VersionID
	// Labels holds every other label. It is never changed in place: see With.
	Labels map[Label]VersionID
	// Rollout is the open rollout of the pending version, as its own package encodes it; nil while every reader who names no version gets the
	// current one.
	Rollout []byte
	// Managed is true for the key and the secret behind a certificate.
	Managed bool
	// Deleted is set while the object is soft-deleted.
	Deleted *Deletion
	// Revision counts the object's changes; a store writes only over the revision that was read.
	Revision int64
}

// Version is an immutable value, or none yet, with attributes.
type Version struct {
	ID          VersionID
	Object      ObjectID
	Attributes  Attributes
	ContentType string
	Tags        map[string]string
	State       VersionState
	// Previous is the version that was current when this one became so; empty for the first.
	Previous VersionID
	// Doc is what the service of the object's kind keeps beside the value and may show, as its own package encodes it; nil when there is nothing.
	Doc []byte
	// Value is the sealed value; its Ciphertext is empty until there is one.
	Value Envelope
}

// VersionState says how far a version's withdrawal has gone.
type VersionState string

// The states of a version.
const (
	Active   VersionState = ""
	Retiring VersionState = "retiring"
	Retired  VersionState = "retired"
	// Abandoned versions were prepared, and perhaps tried, and given up: nobody may use them.
	Abandoned VersionState = "abandoned"
)

// Attributes are what may change of a version.
type Attributes struct {
	Enabled bool
	// NotBefore and Expires inform; zero means unset.
	NotBefore, Expires time.Time
	// Created and Updated are kept in whole seconds on the wire and in microseconds here.
	Created, Updated time.Time
}

// Envelope is a sealed value: the data key, wrapped, and what it encrypts. Key names the wrapping key.
type Envelope struct {
	Key        string
	WrappedKey []byte
	Ciphertext []byte
}

// Limits of secrets: the Key Vault documentation; content type and tags: the wire models.
const (
	MaxNameBytes        = 127
	MaxContentTypeBytes = 255
	MaxTags             = 15
	MaxTagBytes         = 512
)

// CheckObjectName reports whether name may be an object's: 1 to 127 letters, digits and hyphens.
func CheckObjectName(name string) error {
	ok := len(name) >= 1 && len(name) <= MaxNameBytes
	for i := 0; ok && i < len(name); i++ {
		ok = isNameByte(name[i])
	}
	if !ok {
		return fault.New(fault.Invalid, "the object name %q is not valid: use 1 to 127 letters, digits and hyphens", fault.Clip(name))
	}
	return nil
}

// NameKey is the form of a name that is compared: names differ only if their keys differ.
func NameKey(name string) string { return strings.ToLower(name) }

// CheckTags reports whether tags are within the limits of every door.
func CheckTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return fault.New(fault.Invalid, "%d tags are too many: an object version has at most %d", len(tags), MaxTags)
	}
	for k, v := range tags {
		if k == "" {
			return fault.New(fault.Invalid, "a tag has an empty name: name every tag")
		}
		if len(k) > MaxTagBytes || len(v) > MaxTagBytes {
			return fault.New(fault.Invalid, "tag %q is too long: names and values of tags have at most %d bytes", fault.Clip(k), MaxTagBytes)
		}
	}
	return nil
}

// Check reports whether the attributes can be stored.
func (a Attributes) Check() error {
	if !a.NotBefore.IsZero() && !a.Expires.IsZero() && !a.Expires.After(a.NotBefore) {
		return fault.New(fault.Invalid, "the expiry %s is not after the activation %s: choose a later expiry or drop one of them",
			a.Expires.UTC().Format(time.RFC3339), a.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// With returns the attributes with those members changed that are given.
func (a Attributes) With(enabled *bool, notBefore, expires *time.Time) Attributes {
	if enabled != nil {
		a.Enabled = *enabled
	}
	if notBefore != nil {
		a.NotBefore = *notBefore
	}
	if expires != nil {
		a.Expires = *expires
	}
	return a
}

// CheckContentType reports whether a content type can be stored.
func CheckContentType(s string) error {
	if len(s) > MaxContentTypeBytes {
		return fault.New(fault.Invalid, "the content type has %d bytes: at most %d are allowed", len(s), MaxContentTypeBytes)
	}
	return nil
}

// LabelOf returns the version under the label, or the empty id.
func (o *Object) LabelOf(l Label) VersionID {
	if l == Current {
		return o.Current
	}
	return o.Labels[l]
}

// With returns a copy of the object whose label points to v; an empty v removes the label. Another pending version, or none, ends the rollout.
func (o *Object) With(l Label, v VersionID) *Object {
	c := *o
	if l == Pending && o.Labels[Pending] != v {
		c.Rollout = nil
	}
	if l == Current {
		c.Current = v
		return &c
	}
	c.Labels = maps.Clone(o.Labels)
	if v == "" {
		delete(c.Labels, l)
		return &c
	}
	if c.Labels == nil {
		c.Labels = make(map[Label]VersionID, 1)
	}
	c.Labels[l] = v
	return &c
}

// Hides reports whether callers must not see the version: it is not promised to anybody yet, or never will be. A rollout promises the pending
// version to some.
func (o *Object) Hides(v *Version) bool {
	return v.State == Abandoned || v.ID == o.Labels[Pending] && o.Rollout == nil
}

// Promote returns a copy whose current version is v and whose previous one is the version that was current. It ends a rollout: what is current is
// everyone's.
func (o *Object) Promote(v VersionID) *Object {
	if o.Current == v {
		return o
	}
	c := o.With(Previous, o.Current)
	c.Current, c.Rollout = v, nil
	return c
}

// Delete returns a soft-deleted copy that can be recovered for the retention. It refuses an object that is deleted
// already.
func (o *Object) Delete(now time.Time, retention time.Duration) (*Object, error) {
	if o.Deleted != nil {
		return nil, o.deletedFault()
	}
	c := *o
	c.Deleted = &Deletion{At: now, PurgeAt: now.Add(retention)}
	return &c, nil
}

// Recover returns a live copy of a deleted object. Once its retention is over it is a fault.NotFound, whether it was purged yet
// or not: what was promised to be gone does not come back because nobody has swept.
func (o *Object) Recover(now time.Time) (*Object, error) {
	if o.Deleted == nil {
		return nil, fault.New(fault.Conflict, "the %s %q is not deleted, so there is nothing to recover", o.Kind, o.Name)
	}
	if !now.Before(o.Deleted.PurgeAt) {
		return nil, fault.New(fault.NotFound, "the deleted %s %q was not found in this vault: its retention ended at %s", o.Kind, o.Name,
			o.Deleted.PurgeAt.UTC().Format(time.RFC3339)).Because(notFoundReasons[o.Kind])
	}
	c := *o
	c.Deleted = nil
	return &c, nil
}

// notFoundReasons are the codes of Key Vault for objects that are not there.
var notFoundReasons = map[Kind]fault.Reason{Secret: "SecretNotFound", Key: "KeyNotFound", Certificate: "CertificateNotFound"}

// CheckPurge reports whether a person may destroy the deleted object now. protected is the vault's purge protection.
func (o *Object) CheckPurge(now time.Time, protected bool) error {
	if o.Deleted == nil {
		return fault.New(fault.Conflict, "the %s %q is not deleted: delete it before you purge it", o.Kind, o.Name)
	}
	if protected && now.Before(o.Deleted.PurgeAt) {
		return fault.New(fault.Forbidden, "the %s %q cannot be purged before %s: the vault has purge protection", o.Kind, o.Name,
			o.Deleted.PurgeAt.UTC().Format(time.RFC3339)).Because("PurgeProtected")
	}
	return nil
}

// CheckLive reports a conflict when the object is deleted: nothing but looking, recovering and purging is possible then.
func (o *Object) CheckLive() error {
	if o.Deleted != nil {
		return o.deletedFault()
	}
	return nil
}

func (o *Object) deletedFault() error {
	return fault.New(fault.Conflict, "the %s %q is in a deleted but recoverable state, and its name cannot be reused: recover or purge it first",
		o.Kind, o.Name).Because("ObjectIsDeletedButRecoverable")
}

// String names the object for messages and logs.
func (o *Object) String() string { return fmt.Sprintf("%s %q", o.Kind, o.Name) }
