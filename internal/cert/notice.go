package cert

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/mail"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// RenewalFailed is the type of the event that tells that a certificate could not be made anew as its policy says: after a day of trying, and again when it is given up; and
// every day that a renewal cannot even begin.
// Its data is a RenewalFailure.
const RenewalFailed = "Keywright.CertificateRenewalFailed"

// RenewalFailure is what the event tells.
type RenewalFailure struct {
	VaultName  string `json:"vaultName"`
	ObjectName string `json:"objectName"`
	// Version is the one that could not be made, Current the one that stays meanwhile, until Expires.
	Version vault.VersionID `json:"version,omitempty"`
	Current vault.VersionID `json:"current"`
	Expires time.Time       `json:"expires"`
	Issuer  string          `json:"issuer"`
	// Final is false while the issuer is still asked again.
	Final bool `json:"final"`
	// Stalled says that the renewal could not begin: there is no version that is being made.
	Stalled bool `json:"stalled,omitempty"`
	// Code and Message are the issuer's reason.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// warnAfter is how long a renewal may go on failing before somebody is told.
const warnAfter = 24 * time.Hour

// ContactAddresses are those of the vault's contacts, as far as they can be written to; none when it has no contacts.
func ContactAddresses(ctx context.Context, tx store.Tx, v *vault.Vault) (list []*mail.Address, err error) {
	_, _, contacts, err := contactsOf(ctx, tx, v)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	for _, c := range contacts {
		// Clients may set what they like, and one that is no address must not keep the others from being told.
		if a, err := mail.ParseAddress(c.Name, c.Email); err == nil {
			list = append(list, a)
		}
	}
	return list, err
}

// write puts a letter to the contacts into the outbox, in the transaction of what it tells.
func (s *Service) write(ctx context.Context, tx store.Tx, v *vault.Vault, id string, at time.Time, subject, text string) error {
	if s.Mail == nil {
		return nil
	}
	to, err := ContactAddresses(ctx, tx, v)
	if err != nil || len(to) == 0 {
		return err
	}
	return s.Mail(ctx, tx, mail.Letter{ID: id, At: at, To: to, Subject: subject, Text: text})
}

// writeNear tells the contacts that a certificate is to be seen to.
func (s *Service) writeNear(ctx context.Context, tx store.Tx, v *vault.Vault, it Item, st *state, op store.Op) error {
	name, ends := it.Object.Name, it.Version.Attributes.Expires.UTC().Format(time.RFC3339)
	text := fmt.Sprintf("The certificate %q of the vault %q ends at %s.\n\n", name, v.Name, ends)
	switch at, renews := st.renewAt(it.Version); {
	case st.Policy.Issuer.Is(UnknownIssuer):
		text += fmt.Sprintf("Nobody here can make the next one. Have it signed, and bring it:\n\n  keywright cert create %s --vault %s --csr request.pem\n  keywright cert merge %s --vault %s --file signed.pem\n",
			name, v.Name, name, v.Name)
	case renews:
		text += fmt.Sprintf("Its policy makes it anew at %s. See that whoever serves it takes the new version.\n", at.UTC().Format(time.RFC3339))
	default:
		text += fmt.Sprintf("Its policy does not make it anew. Do it with:\n\n  keywright cert create %s --vault %s\n", name, v.Name)
	}
	return s.write(ctx, tx, v, string(op.ID), op.At, fmt.Sprintf("The certificate %q of the vault %q ends at %s", name, v.Name, ends), text)
}

// tellFailure tells that a renewal does not come through, by event and letter.
func (s *Service) tellFailure(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, op *Operation, id string, at time.Time, reason *fault.Error) error {
	current, err := tx.Version(ctx, o.ID, o.Current)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	final := op.Status == Failed
	data, err := json.Marshal(RenewalFailure{VaultName: v.Name, ObjectName: o.Name, Version: op.Version, Current: current.ID, Expires: current.Attributes.Expires,
		Issuer: op.Issuer.Name, Final: final, Code: string(reason.Reason), Message: reason.Message})
	if err != nil {
		return err
	}
	tx.Emit(store.Event{ID: id, Type: RenewalFailed, Tenant: v.Tenant, Vault: v.ID, Subject: o.Name, At: at, Data: data})
	ends := current.Attributes.Expires.UTC().Format(time.RFC3339)
	text := fmt.Sprintf("The certificate %q of the vault %q could not be made anew by %q:\n\n  %s\n\nThe version before stays current. It ends at %s.\n\n", o.Name, v.Name,
		op.Issuer.Name, reason.Message, ends)
	if final {
		text += "It is tried again within a day. "
	} else {
		text += fmt.Sprintf("The issuer has been asked since %s and is asked again. ", op.Started.UTC().Format(time.RFC3339))
	}
	text += fmt.Sprintf("See what it says with:\n\n  keywright cert pending show %s --vault %s\n", o.Name, v.Name)
	return s.write(ctx, tx, v, id, at, fmt.Sprintf("The certificate %q of the vault %q could not be made anew", o.Name, v.Name), text)
}

// RenewsAt is when the policy of a certificate makes its current version anew by itself; zero when it does not. It is for services that ask nobody whether the caller may.
func RenewsAt(ctx context.Context, tx store.Tx, o vault.ObjectID, current *vault.Version) (time.Time, error) {
	st, err := stateOf(ctx, tx, o)
	if err != nil || st.Policy == nil || st.Policy.Issuer.Is(UnknownIssuer) || !current.Attributes.Enabled {
		return time.Time{}, err
	}
	at, renews := st.renewAt(current)
	if !renews {
		return time.Time{}, nil
	}
	return at, nil
}
