package acme

import (
	"context"
	"crypto/x509"
	"math/big"

	"github.com/keywright/keywright/internal/enrolment"
	"github.com/keywright/keywright/internal/issuer"
)

// What clients have, and what is said of them, is the business of package enrolment.
type (
	Account       = enrolment.Account
	Identifier    = enrolment.Identifier
	Order         = enrolment.Order
	Authorization = enrolment.Authorization
	Challenge     = enrolment.Challenge
	Problem       = enrolment.Problem
	Signing       = enrolment.Signing
	Permission    = enrolment.Permission
)

const (
	statusPending     = enrolment.Pending
	statusReady       = enrolment.Ready
	statusValid       = enrolment.Valid
	statusInvalid     = enrolment.Invalid
	statusDeactivated = enrolment.Deactivated
)

// Store keeps what clients have. Methods are atomic and durable when they return; what is absent is fault.NotFound. An update's function sees the newest state, may be called
// again after a conflict, and does no I/O; its error is returned and changes nothing.
type Store interface {
	// CreateAccount keeps a new account; fault.Conflict when the key has one.
	CreateAccount(context.Context, Account) error
	Account(ctx context.Context, id string) (Account, error)
	AccountByKey(ctx context.Context, thumbprint string) (Account, error)
	// UpdateAccount fails with fault.Conflict when the key became one that another account has.
	UpdateAccount(ctx context.Context, id string, change func(*Account) error) (Account, error)

	// CreateOrder keeps an order with its authorizations. When it replaces a certificate, the order of that one is marked in the same step; fault.Conflict when that was
	// marked already with an order that is not invalid.
	CreateOrder(context.Context, Order, []Authorization) error
	Order(ctx context.Context, id string) (Order, error)
	OrderBySerial(ctx context.Context, serial string) (Order, error)
	UpdateOrder(ctx context.Context, id string, change func(*Order) error) (Order, error)
	// Delivered records that an order's certificate is handed out. Without that it is not.
	Delivered(context.Context, *Order) error

	Authorization(ctx context.Context, id string) (Authorization, error)
	UpdateAuthorization(ctx context.Context, id string, change func(*Authorization) error) (Authorization, error)
}

// Authority signs certificates. Errors carry a kind; their messages reach the client.
type Authority interface {
	// Issue returns a chain, leaf first; the same one for the same OrderID. It may mark the order as valid by itself.
	Issue(context.Context, Signing) ([]*x509.Certificate, error)
	// Revoke takes a certificate back; fault.Conflict when it is revoked already.
	Revoke(ctx context.Context, c *x509.Certificate, reason issuer.Reason) error
	// RenewalWindow says when to renew; fault.NotFound for a certificate that is not ours.
	RenewalWindow(ctx context.Context, authorityKeyID []byte, serial *big.Int) (issuer.Window, error)
}

// Rules are who may have what.
type Rules interface {
	// RequiresBinding says that accounts are bound.
	RequiresBinding() bool
	// Bind proves a binding and returns what the account remembers of it. verify is given the MAC key of the key id for as long as it runs. A binding that is not
	// accepted is a fault.Unauthenticated, with a message for the client.
	Bind(ctx context.Context, keyID string, verify func(mac []byte) bool) (binding string, err error)
	// Allow says whether an account may have a certificate for these names under this profile, or the usual one if it is empty; fault.Forbidden, with a message for the
	// client, if not. It is asked when an order is made and again before its certificate is signed.
	Allow(ctx context.Context, account Account, identifiers []Identifier, profile string) (Permission, error)
}

var (
	_ Store     = (*enrolment.Register)(nil)
	_ Authority = (*enrolment.Register)(nil)
	_ Rules     = (*enrolment.Register)(nil)
)
