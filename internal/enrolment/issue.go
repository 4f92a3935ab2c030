package enrolment

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// authority opens the issuer's authority, with its records.
func (r *Register) authority(ctx context.Context) (*internalca.CA, internalca.Journaled, error) {
	serving, err := r.service.Certificates.Serve(ctx, r.call.Vault.Vault, r.name)
	if err == nil && serving.ID != r.issuer {
		err = fault.New(fault.Unavailable, "the issuer %q was set up anew meanwhile: try again", r.name)
	}
	if err != nil {
		return nil, nil, err
	}
	ca, ok := serving.Issuer.(*internalca.CA)
	if !ok {
		return nil, nil, fault.New(fault.Invalid, "the issuer %q signs with no key of its vault", r.name)
	}
	records, ok := ca.Records().(internalca.Journaled)
	if !ok {
		return nil, nil, fmt.Errorf("the records of the issuer %q are in no store", r.name)
	}
	return ca, records, nil
}

// Issue returns a chain, leaf first; the same one for the same order. The certificate is on record, the order valid, and both in the audit log, when it does.
// What is wrong with the request is a fault.Invalid.
func (r *Register) Issue(ctx context.Context, s Signing) ([]*x509.Certificate, error) {
	need := r.need(authz.CertificateCreate, "ACME account "+s.Account.ID+", order "+s.OrderID)
	ca, records, err := r.authority(ctx)
	if err != nil {
		err = fault.Wrap(err, fault.Unavailable, "The issuer cannot issue now: tell whoever runs it.")
		return nil, r.service.Guard.Refuse(ctx, r.call, need, err)
	}
	writing := &recording{Journaled: records, register: r, need: need, order: s.OrderID, chain: ca.Chain()}
	result, err := ca.With(writing).Begin(ctx, issuer.Request{ID: s.OrderID, CSR: s.CSR, Profile: s.Profile, NotAfter: s.NotAfter})
	if err != nil && !writing.tried {
		return nil, r.service.Guard.Refuse(ctx, r.call, need, err)
	}
	return result.Chain, err
}

// recording are records to which a certificate is added together with the order that it fulfils and the audit record.
type recording struct {
	internalca.Journaled
	register *Register
	need     guard.Need
	order    string
	chain    []*x509.Certificate
	// tried says that an audit record tells of the signing, however it ended.
	tried bool
}

// Add implements internalca.Records.
func (w *recording) Add(ctx context.Context, record internalca.Record) error {
	r := w.register
	need := w.need
	need.Detail += ", certificate " + record.Serial + " (" + record.Profile + "), authority " + w.AuthorityID()
	w.tried = true
	return r.service.Guard.Commit(ctx, r.call, need, store.NewOp(r.service.Clock.Now()), func(tx store.Tx) error {
		if err := w.AddTo(ctx, tx, record); err != nil {
			return err
		}
		row, err := tx.Enrolment(ctx, r.issuer, orders.kind, w.order)
		if err != nil {
			return err
		}
		o, err := orders.read(row)
		if err != nil {
			return err
		}
		o.Status, o.Serial, o.Authority, o.Chain = Valid, record.Serial, w.AuthorityID(), [][]byte{record.DER}
		for _, c := range w.chain {
			o.Chain = append(o.Chain, c.Raw)
		}
		return orders.put(ctx, tx, r, row, o)
	})
}

// Revoke takes a certificate back; fault.Conflict when it is revoked already.
func (r *Register) Revoke(ctx context.Context, c *x509.Certificate, reason issuer.Reason) error {
	return r.revoke(ctx, r.need(authz.CertificateDelete, "ACME"), internalca.SerialText(c.SerialNumber), reason)
}

func (r *Register) revoke(ctx context.Context, need guard.Need, serial string, reason issuer.Reason) error {
	need.Detail += fmt.Sprintf(", certificate %s is revoked for the reason %d", serial, reason)
	op := store.NewOp(r.service.Clock.Now())
	return r.service.Guard.Commit(ctx, r.call, need, op, func(tx store.Tx) error {
		row, err := tx.EnrolmentByAlias(ctx, r.issuer, orders.kind, serial)
		if fault.Is(err, fault.NotFound) {
			return noCertificate(r.name, serial)
		}
		if err != nil {
			return err
		}
		o, err := orders.read(row)
		if err != nil {
			return err
		}
		issued, err := tx.Issuance(ctx, o.Authority, serial)
		if err == nil && !issued.Revoked.IsZero() {
			err = fault.New(fault.Conflict, "the certificate %s is revoked already", serial)
		}
		if err != nil {
			return err
		}
		return tx.RevokeIssuance(ctx, o.Authority, serial, op.At.Truncate(time.Second), int(reason))
	})
}

func noCertificate(issuer, serial string) error {
	return fault.New(fault.NotFound, "no client of the issuer %q has the certificate %s: list its orders", issuer, fault.Clip(serial)).Because(NoCertificate)
}

// NoCertificate is the reason of the fault when no order has a certificate of that serial number.
const NoCertificate fault.Reason = "CertificateNotFound"

// changeover is how long clients have to come for certificates of a new authority.
const changeover = 24 * time.Hour

// RenewalWindow says when to renew; fault.NotFound for a certificate that no client has here. Once the issuer signs with another authority's key, certificates of the one before are due:
// the new authority reaches clients in this way.
func (r *Register) RenewalWindow(ctx context.Context, authorityKeyID []byte, serial *big.Int) (issuer.Window, error) {
	unknown := fault.New(fault.NotFound, "There is no such certificate.")
	o, err := r.OrderBySerial(ctx, internalca.SerialText(serial))
	if fault.Is(err, fault.NotFound) {
		return issuer.Window{}, unknown
	}
	if err != nil {
		return issuer.Window{}, err
	}
	leaf, err := x509.ParseCertificate(o.Chain[0])
	if err != nil {
		return issuer.Window{}, err
	}
	if !bytes.Equal(leaf.AuthorityKeyId, authorityKeyID) {
		return issuer.Window{}, unknown
	}
	var issued *store.Issuance
	if err := r.service.Store.View(ctx, func(tx store.Tx) (err error) {
		issued, err = tx.Issuance(ctx, o.Authority, o.Serial)
		return err
	}); err != nil {
		return issuer.Window{}, err
	}
	var revoked *internalca.Revocation
	if !issued.Revoked.IsZero() {
		revoked = &internalca.Revocation{At: issued.Revoked, Reason: issuer.Reason(issued.Reason)}
	}
	w := internalca.Window(leaf, revoked, r.call.Started.UTC().Truncate(time.Second))
	// An issuer that cannot issue now gives no other advice than before.
	if ca, records, err := r.authority(ctx); err == nil && records.AuthorityID() != o.Authority {
		if start := ca.Certificate().NotBefore; start.Before(w.Start) {
			w.Start, w.End = start, start.Add(changeover)
		}
	}
	return w, nil
}

// OrderList is a page of orders. Next is the id behind which the listing goes on; empty when it is at its end.
type OrderList struct {
	Orders []Listed
	Next   string
}

// Listed is an order with what became of its certificate.
type Listed struct {
	Order
	Contact  []string
	NotAfter time.Time
	// Revoked is zero for a certificate that counts; Reason is why it does not.
	Revoked time.Time
	Reason  issuer.Reason
}

// Orders returns a page of what an issuer's clients ordered, oldest first.
func (s *Service) Orders(ctx context.Context, call *guard.Call, name string, p object.Page) (l OrderList, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return l, err
	}
	need := guard.Need{Action: authz.IssuerGet, Detail: "issuer " + name + ", orders"}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			id, _, err := s.Certificates.Served(ctx, tx, call.Vault.Vault, name)
			if err != nil {
				return err
			}
			l = OrderList{}
			rows, err := tx.Enrolments(ctx, store.EnrolmentQuery{Issuer: id, Kind: orders.kind, After: p.After, Limit: p.Limit})
			if err != nil {
				return err
			}
			for _, row := range rows {
				found, err := list(ctx, tx, row)
				if err != nil {
					return err
				}
				l.Orders = append(l.Orders, found)
			}
			if len(rows) > 0 && len(rows) == p.Limit {
				l.Next = rows[len(rows)-1].ID
			}
			return nil
		})
	})
	return l, err
}

func list(ctx context.Context, tx store.Tx, row *store.Enrolment) (l Listed, err error) {
	o, err := orders.read(row)
	if err != nil {
		return l, err
	}
	l.Order = *o
	account, err := tx.Enrolment(ctx, row.Issuer, accounts.kind, o.AccountID)
	if err != nil {
		return l, err
	}
	a, err := accounts.read(account)
	if err != nil {
		return l, err
	}
	l.Contact = a.Contact
	if o.Serial == "" {
		return l, nil
	}
	issued, err := tx.Issuance(ctx, o.Authority, o.Serial)
	if err != nil {
		return l, err
	}
	l.NotAfter, l.Revoked, l.Reason = issued.NotAfter, issued.Revoked, issuer.Reason(issued.Reason)
	return l, nil
}

// Revoke takes back a certificate that a client of the issuer has. Doing it again does nothing.
func (s *Service) Revoke(ctx context.Context, call *guard.Call, name, serial string, reason issuer.Reason) error {
	if err := vault.CheckObjectName(name); err != nil {
		return err
	}
	need := guard.Need{Action: authz.CertificateDelete, Detail: "issuer " + name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	n, ok := new(big.Int).SetString(serial, 16)
	if !ok || n.Sign() <= 0 {
		return s.Guard.Refuse(ctx, call, need, fault.New(fault.Invalid, "%q is no serial number in hexadecimal digits", fault.Clip(serial)))
	}
	if !reason.Known() {
		return s.Guard.Refuse(ctx, call, need, fault.New(fault.Invalid, "certificates are not revoked for the reason %d: use 0 to 5, 9 or 10 (RFC 5280, section 5.3.1)", reason))
	}
	r := &Register{service: s, call: call}
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		r.issuer, r.name, err = s.Certificates.Served(ctx, tx, call.Vault.Vault, name)
		return err
	})
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	err = r.revoke(ctx, need, internalca.SerialText(n), reason)
	if fault.Is(err, fault.Conflict) {
		return nil
	}
	return err
}
