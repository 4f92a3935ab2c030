package ldap

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// connectTime bounds a connection and its TLS handshake.
const connectTime = 5 * time.Second

// session is a connection for one verb. It ends with the verb's context.
type session struct {
	*ldap.Conn
	config  *config
	address string
}

// connect opens a connection without a login. The caller closes it. Errors say that nothing was done.
func (c *config) connect(ctx context.Context, address string) (*session, error) {
	var settings, direct *tls.Config
	if !c.Plaintext {
		var err error
		if settings, err = c.TLS.Config(); err != nil {
			return nil, rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
		}
		if !c.StartTLS {
			direct = settings
		}
	}
	raw, err := endpoint.Dial(ctx, address, direct)
	if err != nil {
		return nil, rotator.Fail(rotator.NotApplied, err, "the directory at %s was not reached: see that it is up and its certificate is trusted", address)
	}
	conn := ldap.NewConn(raw, direct != nil)
	conn.Start()
	s := &session{Conn: conn, config: c, address: address}
	if c.StartTLS {
		named := settings.Clone()
		if named.ServerName == "" {
			named.ServerName = endpoint.Host(address)
		}
		conn.SetTimeout(connectTime)
		if err := conn.StartTLS(named); err != nil {
			s.close()
			return nil, rotator.Fail(rotator.NotApplied, reason(err), "the directory at %s did not turn to TLS", address)
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetTimeout(max(time.Until(deadline), time.Millisecond))
	}
	return s, nil
}

func (s *session) close() { _ = s.Conn.Close() } // whatever it says, the connection is gone

// administer is a connection with the administrator's login.
func (c *config) administer(ctx context.Context, address string, admin rotator.Credential) (*session, error) {
	if admin.IsZero() || len(admin.Value) == 0 {
		return nil, rotator.Fail(rotator.Denied, nil, "the policy needs the credential of an administrator, or the account's own")
	}
	s, err := c.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	err = s.Bind(c.administrator(admin), string(admin.Value.Reveal()))
	if err == nil {
		return s, nil
	}
	s.close()
	switch code(err) {
	case ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultNoSuchObject:
		return nil, rotator.Fail(rotator.Denied, reason(err), "the directory at %s refuses the administrator %q: check its password, and whether it is locked", address, admin.Account)
	default:
		return nil, s.failure(err, rotator.NotApplied, "logging in as the administrator %q", admin.Account)
	}
}

// administrator is the name by which it logs in: a distinguished name, Active Directory's user@domain, or an account that is named as the policy's are.
func (c *config) administrator(admin rotator.Credential) string {
	if _, err := ldap.ParseDN(admin.Account); err == nil || c.Shape == activeDirectory && strings.Contains(admin.Account, "@") {
		return admin.Account
	}
	return c.dn(admin.Account)
}

// code is the result code of RFC 4511 (below 200), or one of the library's own for what went wrong here; it is 255 for any other error.
func code(err error) uint16 {
	var e *ldap.Error
	if errors.As(err, &e) {
		return e.ResultCode
	}
	return 255
}

// result is a result code of RFC 4511, as an error without what the server wrote beside it: its text is not ours to trust in a log.
type result uint16

// Error names the result.
func (r result) Error() string {
	return fmt.Sprintf("LDAP result %d (%s)", uint16(r), ldap.LDAPResultCodeMap[uint16(r)])
}

// reason is the result in err, or err itself when the server said nothing.
func reason(err error) error {
	if n := code(err); n < ldap.ErrorNetwork {
		return result(n)
	}
	return err
}

// failure turns an error of an operation into what is known of it. unsaid is the class when the server said nothing.
func (s *session) failure(err error, unsaid rotator.Class, format string, args ...any) error {
	class := unsaid
	switch n := code(err); n {
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultAdminLimitExceeded:
		class = rotator.Busy
	case ldap.LDAPResultInsufficientAccessRights:
		class = rotator.Denied
	case ldap.LDAPResultConstraintViolation, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultInvalidAttributeSyntax:
		class = rotator.Refused
	case ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultReferral, ldap.LDAPResultObjectClassViolation,
		ldap.LDAPResultUndefinedAttributeType, ldap.LDAPResultConfidentialityRequired, ldap.LDAPResultStrongAuthRequired:
		class = rotator.Misconfigured
	}
	return rotator.Fail(class, reason(err), "%s at %s failed", fmt.Sprintf(format, args...), s.address)
}

// entry reads attributes of one entry.
func (s *session) entry(dn string, attributes ...string) (*ldap.Entry, error) {
	found, err := s.Search(&ldap.SearchRequest{
		BaseDN: dn, Scope: ldap.ScopeBaseObject, DerefAliases: ldap.NeverDerefAliases, Filter: "(objectClass=*)", Attributes: attributes,
	})
	if err != nil {
		return nil, err
	}
	if len(found.Entries) != 1 {
		return nil, ldap.NewError(ldap.LDAPResultNoSuchObject, errors.New("the entry is not visible"))
	}
	return found.Entries[0], nil
}

// identifier is the attribute that every server of a directory has with the same value, and that outlives a change of name: RFC 4530, MS-ADA3.
func (c *config) identifier() string {
	if c.Shape == activeDirectory {
		return "objectGUID"
	}
	return "entryUUID"
}

// errHidden says that an entry is visible, and what identifies it is not.
var errHidden = errors.New("it is not readable")

// identity names an entry independently of addresses.
func (s *session) identity(dn string) (string, error) {
	e, err := s.entry(dn, s.config.identifier())
	if err != nil {
		return "", err
	}
	raw := e.GetRawAttributeValue(s.config.identifier())
	if len(raw) == 0 {
		return "", fmt.Errorf("the attribute %s of %q: %w", s.config.identifier(), dn, errHidden)
	}
	if s.config.Shape == activeDirectory {
		return "ldap:" + hex.EncodeToString(raw), nil
	}
	return "ldap:" + string(raw), nil
}
