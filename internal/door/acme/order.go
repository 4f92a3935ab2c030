package acme

import (
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/enrolment"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// maxIdentifiers is how many names one order may have.
const maxIdentifiers = 100

// The types of identifiers.
const (
	typeDNS = enrolment.DNS
	typeIP  = enrolment.IP
)

// The types of challenges.
const (
	http01    = "http-01"
	dns01     = "dns-01"
	tlsalpn01 = "tls-alpn-01"
)

// orderWire is an order as clients see it.
type orderWire struct {
	Status         string       `json:"status"`
	Expires        time.Time    `json:"expires"`
	Identifiers    []Identifier `json:"identifiers"`
	Profile        string       `json:"profile,omitempty"`
	NotAfter       *time.Time   `json:"notAfter,omitempty"`
	Replaces       string       `json:"replaces,omitempty"`
	Authorizations []string     `json:"authorizations"`
	Finalize       string       `json:"finalize"`
	Certificate    string       `json:"certificate,omitempty"`
}

func (s *exchange) orderReply(status int, o Order) *reply {
	wire := orderWire{Status: o.Status, Expires: o.Expires, Identifiers: o.Identifiers, Profile: o.Profile, Finalize: s.URL + pathFinalize + o.ID}
	if !o.NotAfter.IsZero() {
		wire.NotAfter = &o.NotAfter
	}
	for _, id := range o.Authorizations {
		wire.Authorizations = append(wire.Authorizations, s.URL+pathAuthz+id)
	}
	if o.Status == statusValid {
		wire.Certificate = s.URL + pathCertificate + o.ID
	}
	return &reply{status: status, location: s.URL + pathOrder + o.ID, body: wire}
}

// newOrder asks the rules and opens an order (section 7.4).
func (s *exchange) newOrder(r *door.Request, m *message) (*reply, error) {
	var in struct {
		Identifiers []Identifier `json:"identifiers"`
		NotBefore   *time.Time   `json:"notBefore"`
		NotAfter    *time.Time   `json:"notAfter"`
		Profile     string       `json:"profile"`
		Replaces    string       `json:"replaces"`
	}
	if err := decode(m.payload, &in); err != nil {
		return nil, err
	}
	if in.NotBefore != nil {
		return nil, malformed("The beginning of a certificate is not for clients to choose: leave notBefore out.")
	}
	if _, ok := s.Profiles[in.Profile]; in.Profile != "" && !ok {
		return nil, problem(http.StatusBadRequest, "invalidProfile", "There is no such profile: the directory lists them.")
	}
	identifiers, err := checkIdentifiers(in.Identifiers)
	if err != nil {
		return nil, err
	}
	if err := s.rates.orders.take(m.account.ID, "orders are made by this account", s.Clock.Now()); err != nil {
		return nil, err
	}
	permission, err := s.Rules.Allow(r.HTTP.Context(), m.account, identifiers, in.Profile)
	if fault.Is(err, fault.Forbidden) {
		return nil, problem(http.StatusForbidden, "rejectedIdentifier", fault.As(err).Message)
	}
	if err != nil {
		return nil, err
	}
	now := s.Clock.Now().UTC().Truncate(time.Second)
	// The id is in the order of time, which is that of lists; what is secret about an order is not its name.
	o := Order{ID: string(vault.NewVersionID(now)), AccountID: m.account.ID, Status: statusPending, Expires: now.Add(s.OrderLifetime), Profile: in.Profile, Identifiers: identifiers,
		Rule: permission.Rule, Created: now}
	if in.NotAfter != nil {
		o.NotAfter = in.NotAfter.UTC().Truncate(time.Second)
	}
	if in.Replaces != "" {
		if o.Replaces, err = s.replaces(r, m.account, in.Replaces); err != nil {
			return nil, err
		}
	}
	var authorizations []Authorization
	for _, i := range identifiers {
		a := newAuthorization(o, i, permission.Trusted)
		authorizations = append(authorizations, a)
		o.Authorizations = append(o.Authorizations, a.ID)
	}
	if permission.Trusted {
		o.Status = statusReady
	}
	if err := s.Store.CreateOrder(r.HTTP.Context(), o, authorizations); fault.Is(err, fault.Conflict) && o.Replaces != "" {
		return nil, problem(http.StatusConflict, "alreadyReplaced", "The certificate has been replaced already: order without replaces.")
	} else if err != nil {
		return nil, err
	}
	return s.orderReply(http.StatusCreated, o), nil
}

// replaces finds the certificate that an order renews (RFC 9773, section 5). It must be the account's own.
func (s *exchange) replaces(r *door.Request, a Account, id string) (serial string, err error) {
	_, number, err := parseCertificateID(id)
	if err != nil {
		return "", err
	}
	serial = number.Text(16)
	before, err := s.Store.OrderBySerial(r.HTTP.Context(), serial)
	if err == nil && before.AccountID != a.ID || fault.Is(err, fault.NotFound) {
		return "", malformed("The certificate that the order replaces is not one of this account: order without replaces.")
	}
	return serial, err
}

// parseCertificateID reads the name of a certificate of RFC 9773, section 4.1: the authority's key id and the serial number.
func parseCertificateID(id string) (authority []byte, serial *big.Int, err error) {
	first, second, ok := strings.Cut(id, ".")
	authority, err1 := base64.RawURLEncoding.Strict().DecodeString(first)
	number, err2 := base64.RawURLEncoding.Strict().DecodeString(second)
	if !ok || err1 != nil || err2 != nil || len(authority) == 0 || len(authority) > 64 || len(number) == 0 || len(number) > 21 || number[0]&0x80 != 0 {
		return nil, nil, malformed("The certificate's name is not an authority's key id and a serial number in base64url, with a dot between them.")
	}
	return authority, new(big.Int).SetBytes(number), nil
}

// checkIdentifiers brings names into one form and refuses those that cannot be certified.
func checkIdentifiers(in []Identifier) ([]Identifier, error) {
	if len(in) == 0 || len(in) > maxIdentifiers {
		return nil, malformed(fmt.Sprintf("An order has 1 to %d identifiers.", maxIdentifiers))
	}
	var out []Identifier
	for _, i := range in {
		refused := problem(http.StatusBadRequest, "rejectedIdentifier", "No certificate can be had for "+fault.Clip(i.Value)+".")
		refused.Identifier = &Identifier{Type: i.Type, Value: fault.Clip(i.Value)}
		switch i.Type {
		case typeDNS:
			i.Value = strings.ToLower(i.Value)
			name := strings.TrimPrefix(i.Value, "*.")
			if _, err := netip.ParseAddr(name); err == nil || !enrolment.HostName(name) {
				return nil, refused
			}
		case typeIP:
			a, err := netip.ParseAddr(i.Value)
			if err != nil || a.Zone() != "" || a.String() != i.Value {
				return nil, refused // RFC 8738, section 3: the canonical form alone
			}
		default:
			return nil, problem(http.StatusBadRequest, "unsupportedIdentifier", "Identifiers are of the types dns and ip.")
		}
		if slices.Contains(out, i) {
			return nil, malformed("An identifier is there twice.")
		}
		out = append(out, i)
	}
	return out, nil
}

// ownOrder reads an order of the account; one that has taken too long is invalid.
func (s *exchange) ownOrder(r *door.Request, m *message) (Order, error) {
	o, err := s.Store.Order(r.HTTP.Context(), r.Params.Get("id"))
	if err == nil && o.AccountID != m.account.ID || fault.Is(err, fault.NotFound) {
		return Order{}, notFound()
	}
	if err != nil {
		return Order{}, err
	}
	if o.Status != statusValid && !s.Clock.Now().Before(o.Expires) {
		o.Status = statusInvalid
	}
	return o, nil
}

// order shows an order.
func (s *exchange) order(r *door.Request, m *message) (*reply, error) {
	if !m.asGet() {
		return nil, malformed("Orders are asked for with an empty payload.")
	}
	o, err := s.ownOrder(r, m)
	if err != nil {
		return nil, err
	}
	return s.orderReply(http.StatusOK, o), nil
}
