package ldap

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/internal/rotator"
)

// probeTime bounds one login.
const probeTime = 10 * time.Second

// Probe binds at every endpoint and asks who it became (RFC 4532).
func (*Rotator) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	cfg, err := parse(t.Config)
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
	}
	if len(c.Value) == 0 {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "there is no password of %q to try: a bind without one is anonymous and always succeeds", c.Account)
	}
	var all rotator.Logins
	for _, e := range cfg.Endpoints {
		all = append(all, cfg.login(ctx, e, t.Admin, c))
	}
	return all, nil
}

// login tries one endpoint. The administrator, if there is one, reads what the account itself may not.
func (c *config) login(ctx context.Context, address string, admin, credential rotator.Credential) rotator.Login {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	one := rotator.Login{Endpoint: address}
	s, err := c.connect(ctx, address)
	if err != nil {
		one.Detail = err.Error()
		return one
	}
	defer s.close()
	dn := c.dn(credential.Account)
	answer, err := s.SimpleBind(&ldap.SimpleBindRequest{
		Username: dn, Password: string(credential.Value.Reveal()),
		// Without this control a policy's lockout looks like a wrong password (draft-behera-ldap-password-policy).
		Controls: []ldap.Control{ldap.NewControlBeheraPasswordPolicy()},
	})
	if err != nil {
		one.Verdict, one.Detail = c.refused(ctx, address, admin, dn, answer, err)
		return one
	}
	if err := s.is(dn); err != nil {
		one.Detail = err.Error()
		return one
	}
	reader := s
	if !admin.IsZero() && admin.Account != credential.Account {
		if reader, err = c.administer(ctx, address, admin); err != nil {
			one.Detail = "the bind succeeded and its entry was not read: " + err.Error()
			return one
		}
		defer reader.close()
	}
	if one.Identity, err = reader.identity(dn); err != nil {
		one.Detail = "the bind succeeded and its entry was not read: " + reason(err).Error()
		return one
	}
	one.Verdict, one.Detail = rotator.Accepted, "bound and identified"
	return one
}

// refused tells a wrong password from other reasons.
func (c *config) refused(ctx context.Context, address string, admin rotator.Credential, dn string, answer *ldap.SimpleBindResult, err error) (rotator.Verdict, string) {
	if code(err) != ldap.LDAPResultInvalidCredentials {
		return rotator.Unknown, "no bind: " + reason(err).Error()
	}
	if c.Shape == activeDirectory {
		switch n := detail(err, loginDetail); n {
		case logonFailure, noSuchUser:
			return rotator.Rejected, fmt.Sprintf("%v, data %x", reason(err), n)
		default:
			// 775 is a lockout; 532, 533, 701 and 773 are said to the right password of an account that is expired or disabled.
			return rotator.Unknown, fmt.Sprintf("%v for another reason than the password, data %x", reason(err), n)
		}
	}
	if answer != nil {
		if control, ok := ldap.FindControl(answer.Controls, ldap.ControlTypeBeheraPasswordPolicy).(*ldap.ControlBeheraPasswordPolicy); ok && control.Error >= 0 {
			return rotator.Unknown, "the password policy turns the account away: " + control.ErrorString
		}
	}
	if c.locked(ctx, address, admin, dn) {
		return rotator.Unknown, "the account is locked by a password policy"
	}
	return rotator.Rejected, reason(err).Error()
}

// locked asks whether a policy locked the account: a server that is not set to tell (ppolicy_use_lockout) answers as to a wrong password. What cannot be
// read counts as not locked: most directories have no policy.
func (c *config) locked(ctx context.Context, address string, admin rotator.Credential, dn string) bool {
	if admin.IsZero() {
		return false
	}
	s, err := c.administer(ctx, address, admin)
	if err != nil {
		return false
	}
	defer s.close()
	e, err := s.entry(dn, "pwdAccountLockedTime")
	return err == nil && e.GetAttributeValue("pwdAccountLockedTime") != ""
}

// is fails unless the login became the entry: a server may map names to others.
func (s *session) is(dn string) error {
	who, err := s.WhoAmI(nil)
	if err != nil {
		return fmt.Errorf("the bind succeeded and the directory did not say as whom: %w", reason(err))
	}
	if name, ok := strings.CutPrefix(who.AuthzID, "dn:"); ok && sameDN(name, dn) {
		return nil
	}
	if login, ok := strings.CutPrefix(who.AuthzID, "u:"); ok && s.config.Shape == activeDirectory {
		if e, err := s.entry(dn, "sAMAccountName"); err == nil && strings.EqualFold(login[strings.LastIndexByte(login, '\\')+1:], e.GetAttributeValue("sAMAccountName")) {
			return nil
		}
	}
	return fmt.Errorf("the bind as %q became somebody else: %q", dn, who.AuthzID)
}

func sameDN(a, b string) bool {
	x, err := ldap.ParseDN(a)
	y, bad := ldap.ParseDN(b)
	return err == nil && bad == nil && x.EqualFold(y)
}
