package enrolment

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// shelf says how the records of one kind are kept.
type shelf[T any] struct {
	kind string
	// word is what messages call one.
	word    string
	id      func(*T) string
	alias   func(*T) string
	expires func(*T) time.Time
}

var (
	accounts = shelf[Account]{kind: "account", word: "account", id: func(a *Account) string { return a.ID }, alias: func(a *Account) string { return a.Thumbprint },
		expires: func(*Account) time.Time { return time.Time{} }}
	orders = shelf[Order]{kind: "order", word: "order", id: func(o *Order) string { return o.ID }, alias: func(o *Order) string { return o.Serial }, expires: orderExpires}
	proofs = shelf[Authorization]{kind: "authorization", word: "authorization", id: func(a *Authorization) string { return a.ID }, alias: func(*Authorization) string { return "" },
		expires: func(a *Authorization) time.Time { return a.Expires.Add(kept) }}
)

// orderExpires keeps an order as long as its certificate may still be asked about.
func orderExpires(o *Order) time.Time {
	if len(o.Chain) > 0 {
		if leaf, err := x509.ParseCertificate(o.Chain[0]); err == nil {
			return leaf.NotAfter.Add(kept)
		}
	}
	return o.Expires.Add(kept)
}

func (s shelf[T]) read(row *store.Enrolment) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(row.Doc, v); err != nil {
		return nil, fmt.Errorf("decoding the %s %s: %w", s.word, row.ID, err)
	}
	return v, nil
}

// put writes a record over the row that was read, or a new one.
func (s shelf[T]) put(ctx context.Context, tx store.Tx, r *Register, before *store.Enrolment, v *T) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return err
	}
	row := &store.Enrolment{Vault: r.call.Vault.Vault.ID, Issuer: r.issuer, Kind: s.kind, ID: s.id(v), Alias: s.alias(v), Expires: s.expires(v), Doc: doc}
	if before != nil {
		row.Revision = before.Revision
	}
	return tx.PutEnrolment(ctx, row)
}

// get reads one record by its id, or by its alias.
func (s shelf[T]) get(ctx context.Context, r *Register, key string, byAlias bool) (v T, err error) {
	err = r.service.Store.View(ctx, func(tx store.Tx) error {
		look := tx.Enrolment
		if byAlias {
			look = tx.EnrolmentByAlias
		}
		row, err := look(ctx, r.issuer, s.kind, key)
		if err != nil {
			return err
		}
		found, err := s.read(row)
		if err == nil {
			v = *found
		}
		return err
	})
	return v, err
}

// update changes one record, with an audit record, unless the change leaves it as it is.
func (s shelf[T]) update(ctx context.Context, r *Register, id string, action authz.Action, change func(*T) error) (v T, err error) {
	step := func(tx store.Tx, write bool) (changed bool, err error) {
		row, err := tx.Enrolment(ctx, r.issuer, s.kind, id)
		if err != nil {
			return false, err
		}
		next, err := s.read(row)
		if err != nil {
			return false, err
		}
		if err := change(next); err != nil {
			return false, err
		}
		v = *next
		doc, err := json.Marshal(next)
		if err != nil || bytes.Equal(doc, row.Doc) || !write {
			return !bytes.Equal(doc, row.Doc), err
		}
		return true, s.put(ctx, tx, r, row, next)
	}
	changes := false
	if err := r.service.Store.View(ctx, func(tx store.Tx) (err error) {
		changes, err = step(tx, false)
		return err
	}); err != nil || !changes {
		return v, err
	}
	err = r.service.Guard.Commit(ctx, r.call, r.need(action, "ACME "+s.word+" "+id), store.NewOp(r.service.Clock.Now()), func(tx store.Tx) error {
		_, err := step(tx, true)
		return err
	})
	return v, err
}

// CreateAccount keeps a new account; fault.Conflict when the key has one.
func (r *Register) CreateAccount(ctx context.Context, a Account) error {
	need := r.need(authz.CertificateCreate, "ACME account "+a.ID+" is opened")
	return r.service.Guard.Commit(ctx, r.call, need, store.NewOp(r.service.Clock.Now()), func(tx store.Tx) error { return accounts.put(ctx, tx, r, nil, &a) })
}

// Account finds an account by its id.
func (r *Register) Account(ctx context.Context, id string) (Account, error) {
	return accounts.get(ctx, r, id, false)
}

// AccountByKey finds the account of a key.
func (r *Register) AccountByKey(ctx context.Context, thumbprint string) (Account, error) {
	return accounts.get(ctx, r, thumbprint, true)
}

// UpdateAccount fails with fault.Conflict when the key became one that another account has.
func (r *Register) UpdateAccount(ctx context.Context, id string, change func(*Account) error) (Account, error) {
	return accounts.update(ctx, r, id, authz.CertificateUpdate, change)
}

// CreateOrder keeps an order with its authorizations. When it replaces a certificate, the order of that one is marked in the same step; fault.Conflict when that was
// marked already with an order that may still be fulfilled, or was.
func (r *Register) CreateOrder(ctx context.Context, o Order, authorizations []Authorization) error {
	need := r.need(authz.CertificateCreate, "access rule "+o.Rule+", ACME account "+o.AccountID+", order "+o.ID+" for "+names(o.Identifiers))
	op := store.NewOp(r.service.Clock.Now())
	return r.service.Guard.Commit(ctx, r.call, need, op, func(tx store.Tx) error {
		if o.Replaces != "" {
			if err := r.replace(ctx, tx, &o, op.At); err != nil {
				return err
			}
		}
		if err := orders.put(ctx, tx, r, nil, &o); err != nil {
			return err
		}
		for i := range authorizations {
			if err := proofs.put(ctx, tx, r, nil, &authorizations[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// replace marks the order of the certificate that another one renews.
func (r *Register) replace(ctx context.Context, tx store.Tx, o *Order, now time.Time) error {
	row, err := tx.EnrolmentByAlias(ctx, r.issuer, orders.kind, o.Replaces)
	if err != nil {
		return err
	}
	before, err := orders.read(row)
	if err != nil {
		return err
	}
	if before.Replaced != "" {
		other, err := tx.Enrolment(ctx, r.issuer, orders.kind, before.Replaced)
		if err == nil {
			replaced, err := orders.read(other)
			if err != nil {
				return err
			}
			if replaced.Status == Valid || replaced.Status != Invalid && now.Before(replaced.Expires) {
				return fault.New(fault.Conflict, "the certificate %s has been replaced already", o.Replaces)
			}
		} else if !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	before.Replaced = o.ID
	return orders.put(ctx, tx, r, row, before)
}

// Order finds an order by its id.
func (r *Register) Order(ctx context.Context, id string) (Order, error) {
	return orders.get(ctx, r, id, false)
}

// OrderBySerial finds the order of a certificate.
func (r *Register) OrderBySerial(ctx context.Context, serial string) (Order, error) {
	return orders.get(ctx, r, serial, true)
}

// UpdateOrder changes an order.
func (r *Register) UpdateOrder(ctx context.Context, id string, change func(*Order) error) (Order, error) {
	return orders.update(ctx, r, id, authz.CertificateCreate, change)
}

// Authorization finds an authorization by its id.
func (r *Register) Authorization(ctx context.Context, id string) (Authorization, error) {
	return proofs.get(ctx, r, id, false)
}

// UpdateAuthorization changes an authorization.
func (r *Register) UpdateAuthorization(ctx context.Context, id string, change func(*Authorization) error) (Authorization, error) {
	return proofs.update(ctx, r, id, authz.CertificateCreate, change)
}

// Delivered records that a certificate was handed out.
func (r *Register) Delivered(ctx context.Context, o *Order) error {
	need := r.need(authz.CertificateGet, "ACME order "+o.ID+", certificate "+o.Serial)
	return r.service.Guard.Record(ctx, r.call, &need)
}
