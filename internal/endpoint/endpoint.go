package endpoint

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/mail"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Endpoint is a place where a certificate is presented, and what was seen there.
type Endpoint struct {
	ID     string         `json:"-"`
	Tenant vault.TenantID `json:"-"`
	Vault  vault.ID       `json:"-"`
	// NextAt is when it is looked at next.
	NextAt   time.Time `json:"-"`
	Revision int64     `json:"-"`
	Spec
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
	// Checked is when it was looked at last; zero for never.
	Checked time.Time `json:"checked,omitzero"`
	// Expected is the version of the vault's certificate that was to be presented then.
	Expected vault.VersionID `json:"expected,omitempty"`
	// Sights has an entry for each address behind the name, in their order.
	Sights []Sight `json:"sights,omitempty"`
	// Lookups counts how often in a row the name could not be resolved, and LookupError says why.
	Lookups     int    `json:"lookups,omitempty"`
	LookupError string `json:"lookupError,omitempty"`
	// Alarms are what was found wrong, worst first.
	Alarms []Alarm `json:"alarms,omitempty"`
	// Task is who sees to that; nil while all is well.
	Task *Task `json:"task,omitempty"`
}

// Read reads a stored endpoint.
func Read(row *store.Endpoint) (*Endpoint, error) {
	e := &Endpoint{}
	if err := json.Unmarshal(row.Doc, e); err != nil {
		return nil, fmt.Errorf("decoding the endpoint %s: %w", row.ID, err)
	}
	e.ID, e.Tenant, e.Vault, e.NextAt, e.Revision = row.ID, row.Tenant, row.Vault, row.NextAt, row.Revision
	return e, nil
}

func (e *Endpoint) row() (*store.Endpoint, error) {
	doc, err := json.Marshal(e)
	return &store.Endpoint{ID: e.ID, Tenant: e.Tenant, Vault: e.Vault, Name: e.Name, Certificate: vault.NameKey(e.Certificate), NextAt: e.NextAt, Revision: e.Revision, Doc: doc}, err
}

// Presented is what the endpoints of one certificate show of one of its versions: the evidence that it is in use, or is not any more.
type Presented struct {
	Tenant vault.TenantID
	Vault  vault.ID
	// Name is the certificate's.
	Name    string
	Version vault.VersionID
	At      time.Time
	// Addresses are where it is presented; none when it was before and is not now.
	Addresses []netip.Addr
}

// Evidence takes what is presented. The ledger is behind it.
type Evidence interface {
	Seen(ctx context.Context, p Presented) error
}

// Config makes a Service. Guard, Store, Clock, Logger, Dial and Node are required.
type Config struct {
	Guard  *guard.Guard
	Store  store.Store
	Clock  clock.Clock
	Logger *slog.Logger
	// Dial connects to an address of IP with a port, or refuses those that the server must not reach for others.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Lookup resolves a name; nil asks the system.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Roots are trusted everywhere; nil means those of the system.
	Roots *x509.CertPool
	// Node names the process among those who may look.
	Node string
	// Evidence hears what is presented; nil for nobody.
	Evidence Evidence
	// Mail takes letters to the contacts of vaults in the transaction of an alarm; nil where no mail is set up.
	Mail func(ctx context.Context, tx store.Tx, l mail.Letter) error
	// Jitter returns a random duration below its argument; nil means a uniform one.
	Jitter func(time.Duration) time.Duration
}

// Service watches endpoints.
type Service struct {
	Config
	// wake makes the background work look at once.
	wake chan struct{}
}

// MaxPerVault bounds the endpoints of one vault: each costs a connection at every look.
const MaxPerVault = 1000

// NotFoundReason is the reason of the fault when there is no such endpoint.
const NotFoundReason fault.Reason = "EndpointNotFound"

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Clock == nil || c.Logger == nil || c.Dial == nil || c.Node == "" {
		return nil, errors.New("the endpoint service needs a guard, a store, a clock, a logger, a way to connect and the node's name")
	}
	if c.Lookup == nil {
		c.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if c.Roots == nil {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("reading the system's certificates: %w", err)
		}
		c.Roots = roots
	}
	if c.Jitter == nil {
		c.Jitter = func(d time.Duration) time.Duration {
			if d <= 0 {
				return 0
			}
			return rand.N(d)
		}
	}
	return &Service{Config: c, wake: make(chan struct{}, 1)}, nil
}

// Wake makes the background work look at once.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Woken is readable when there may be something to look at before it is due.
func (s *Service) Woken() <-chan struct{} { return s.wake }

// roots are what an endpoint's chain may lead to.
func (s *Service) roots(spec *Spec) *x509.CertPool {
	if spec.CA == "" {
		return s.Roots
	}
	roots := s.Roots.Clone()
	roots.AppendCertsFromPEM([]byte(spec.CA))
	return roots
}
