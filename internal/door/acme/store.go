package acme

import (
	"context"
	"crypto/x509"
	"math/big"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/redact"
)

// The states of RFC 8555, section 7.1.6, that things are in here.
const (
	statusPending     = "pending"
	statusReady       = "ready"
	statusValid       = "valid"
	statusInvalid     = "invalid"
	statusDeactivated = "deactivated"
)

// Account is a client's.
type Account struct {
	// ID is random, Thumbprint that of Key (RFC 7638).
	ID, Thumbprint string
	Key            *jose.JSONWebKey
	Contact        []string
	// Binding is the key id with which the account was bound, or empty.
	Binding string
	Status  string
	Created time.Time
}

// Identifier is a name: type "dns" or "ip".
type Identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// Order is a certificate to be.
type Order struct {
	ID, AccountID  string
	Status         string
	Expires        time.Time
	Profile        string
	Identifiers    []Identifier
	NotAfter       time.Time
	Authorizations []string
	// Replaces is the serial number (lower-case hex) of the certificate that this order renews, Replaced the order that renews this one's.
	Replaces, Replaced string
	// Serial (lower-case hex) and Chain (DER, leaf first) are there when the order is valid.
	Serial string
	Chain  [][]byte
}

// Authorization is the proof of one name for one order.
type Authorization struct {
	ID, AccountID, OrderID string
	Identifier             Identifier
	Wildcard               bool
	Status                 string
	Expires                time.Time
	Challenges             []Challenge
}

// Challenge is one way to prove a name.
type Challenge struct {
	Type, Token, Status string
	Validated           time.Time
	Problem             *Problem
}

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

	Authorization(ctx context.Context, id string) (Authorization, error)
	UpdateAuthorization(ctx context.Context, id string, change func(*Authorization) error) (Authorization, error)
}

// Signing is what Authority.Issue needs to know.
type Signing struct {
	// OrderID is the same whenever a signing is repeated.
	OrderID string
	Account Account
	Profile string
	CSR     *x509.CertificateRequest
	// NotAfter is a wish; zero is none.
	NotAfter time.Time
}

// Authority signs certificates. Errors carry a kind; their messages reach the client.
type Authority interface {
	// Issue returns a chain, leaf first; the same one for the same OrderID.
	Issue(context.Context, Signing) ([]*x509.Certificate, error)
	// Revoke takes a certificate back; fault.Conflict when it is revoked already.
	Revoke(ctx context.Context, c *x509.Certificate, reason issuer.Reason) error
	// RenewalWindow says when to renew; fault.NotFound for a certificate that is not ours.
	RenewalWindow(ctx context.Context, authorityKeyID []byte, serial *big.Int) (issuer.Window, error)
}

// Permission is what Rules say of an order.
type Permission struct {
	// Trusted takes the account's word for the names: no challenge is asked.
	Trusted bool
}

// Rules are who may have what.
type Rules interface {
	// MACKey is the key of a binding; fault.NotFound when nobody was given this key id, or it was withdrawn.
	MACKey(ctx context.Context, keyID string) (redact.Bytes, error)
	// Allow says whether an account may have a certificate for these names under this profile; fault.Forbidden, with a message for the client, if not. It is asked when an
	// order is made and again before its certificate is signed.
	Allow(ctx context.Context, account Account, identifiers []Identifier, profile string) (Permission, error)
}
