package ldap

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"regexp"
	"strconv"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/internal/rotator"
)

// unicodePwd is the form in which Active Directory takes a password: quoted, in UTF-16 with the low byte first (MS-ADTS 3.1.1.3.1.5).
func unicodePwd(value []byte) string {
	var out []byte
	for _, u := range utf16.Encode([]rune(`"` + string(value) + `"`)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return string(out)
}

// Codes in the text of Active Directory's answers, [MS-ERREF] 2.2: "data 52e" in a refused login, "0000052D" in a refused change.
const (
	logonFailure        = 0x52e // the password is wrong
	noSuchUser          = 0x525
	passwordRestriction = 0x52d // length, complexity, history or minimum age
	wrongOldPassword    = 0x56
)

var (
	loginDetail  = regexp.MustCompile(`data ([0-9a-fA-F]{1,8})\b`)
	changeDetail = regexp.MustCompile(`^([0-9a-fA-F]{8}):`)
)

// detail reads such a code, or 0.
func detail(err error, pattern *regexp.Regexp) uint64 {
	var e *ldap.Error
	if !errors.As(err, &e) || e.Err == nil {
		return 0
	}
	m := pattern.FindStringSubmatch(e.Err.Error())
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseUint(m[1], 16, 64) // the pattern has only hexadecimal digits
	return n
}

// setUnicode gives the account its only password.
func (c *config) setUnicode(ctx context.Context, admin rotator.Credential, change rotator.Change) error {
	if change.Keep != nil {
		return rotator.Fail(rotator.Misconfigured, nil, "Active Directory's accounts have one password: use a pair of accounts to overlap, not two passwords of %q", change.Account)
	}
	return c.replaceUnicode(ctx, admin, change.Account, change.Value.Reveal())
}

// revokeUnicode leaves the account the password to keep, or one that nobody knows.
func (c *config) revokeUnicode(ctx context.Context, admin rotator.Credential, change rotator.Change) error {
	value := []byte(rand.Text() + "aA1")
	if change.Keep != nil {
		value = change.Keep.Value.Reveal()
		// A change that is repeated would count against the minimum age and the history.
		if c.login(ctx, c.WriteEndpoint, admin, *change.Keep).Verdict == rotator.Accepted {
			return nil
		}
	}
	err := c.replaceUnicode(ctx, admin, change.Account, value)
	if isAbsent(err) {
		return nil
	}
	return err
}

// replaceUnicode replaces by the administrator's right to reset, or changes by the account's own right, which needs the old value.
func (c *config) replaceUnicode(ctx context.Context, admin rotator.Credential, account string, value []byte) error {
	self := admin.Account == account
	s, err := c.administer(ctx, c.WriteEndpoint, admin)
	if self && rotator.ClassOf(err) == rotator.Denied {
		// The change may have been made already, by a call whose answer got lost.
		if c.login(ctx, c.WriteEndpoint, rotator.Credential{}, rotator.Credential{Account: account, Value: value}).Verdict == rotator.Accepted {
			return nil
		}
	}
	if err != nil {
		return err
	}
	defer s.close()
	m := ldap.NewModifyRequest(c.dn(account), nil)
	if self {
		m.Delete("unicodePwd", []string{unicodePwd(admin.Value.Reveal())})
		m.Add("unicodePwd", []string{unicodePwd(value)})
	} else {
		m.Replace("unicodePwd", []string{unicodePwd(value)})
	}
	err = s.Modify(m)
	if err == nil {
		return nil
	}
	if detail(err, changeDetail) == wrongOldPassword {
		return rotator.Fail(rotator.Denied, reason(err), "the old password of %q that came with the change is wrong at %s", account, c.WriteEndpoint)
	}
	return s.failure(err, rotator.Doubt, "changing the password of %q", account)
}
