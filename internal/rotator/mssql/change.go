package mssql

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// Set gives the login the value as its password, and enables it.
func (*Rotator) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	if c.Keep != nil {
		return rotator.Fail(rotator.Misconfigured, nil, "a login of SQL Server has one password: %q cannot keep another; use the strategy single or alternating", c.Account)
	}
	if err := checkValue(c.Value); err != nil {
		return err
	}
	return change(ctx, t, c.Account, c.Value, "ENABLE", false)
}

// Revoke makes Keep the login's password, or disables the login after giving it one that nobody knows: a disabled login answers the right
// password otherwise than a wrong one.
func (*Rotator) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	if c.Keep == nil {
		random := make([]byte, 32)
		_, _ = rand.Read(random) // never fails on the systems that Go supports
		value := redact.Bytes("Aa1" + hex.EncodeToString(random))
		return change(ctx, t, c.Account, value, "DISABLE", true)
	}
	if c.Keep.Account != c.Account || string(c.Keep.Value) == string(c.Value) {
		return rotator.Fail(rotator.Misconfigured, nil, "what %q is to keep is another login's, or the very value to be revoked", c.Account)
	}
	if err := checkValue(c.Keep.Value); err != nil {
		return err
	}
	return change(ctx, t, c.Account, c.Keep.Value, "ENABLE", true)
}

// checkValue lets through what every client sends alike: some drivers count characters where the protocol counts UTF-16 units.
func checkValue(v redact.Bytes) error {
	if len(v) == 0 || len(v) > 128 || strings.ContainsFunc(string(v), func(r rune) bool { return r < ' ' || r > '~' }) {
		return rotator.Fail(rotator.Refused, nil, "a password of SQL Server must have 1 to 128 printable ASCII characters")
	}
	return nil
}

// hashed is the password as sys.sql_logins.password_hash has it since SQL Server 2012: 0x0200, 4 bytes of salt, SHA-512 over the UTF-16 password and
// the salt.
func hashed(v redact.Bytes) string {
	salt := make([]byte, 4)
	_, _ = rand.Read(salt) // never fails on the systems that Go supports
	var text []byte
	for _, unit := range utf16.Encode([]rune(string(v.Reveal()))) {
		text = binary.LittleEndian.AppendUint16(text, unit)
	}
	defer clear(text)
	sum := sha512.Sum512(append(text, salt...))
	return "0x0200" + strings.ToUpper(hex.EncodeToString(salt)+hex.EncodeToString(sum[:]))
}

// change makes v the login's password at every endpoint, under one lock. It first logs in everywhere, so that an endpoint which is down stops it before
// anything happened.
func change(ctx context.Context, t *rotator.Target, account string, v redact.Bytes, turn string, mayBeGone bool) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := checkName(account); err != nil {
		return err
	}
	c, err := parse(t.Config)
	if err != nil {
		return err
	}
	var sessions []*session
	defer func() {
		for _, s := range sessions {
			s.close()
		}
	}()
	for _, e := range c.Endpoints {
		s, err := c.admin(ctx, t, e)
		if err != nil {
			return err
		}
		sessions = append(sessions, s)
	}
	if err := sessions[0].lock(ctx, account); err != nil {
		return err
	}
	changed := false
	for _, s := range sessions {
		done, err := s.change(ctx, c, account, v, turn, mayBeGone)
		if err != nil && changed {
			return rotator.Fail(rotator.Doubt, err, "%s was changed and %s may not be: the endpoints do not agree about %q", sessions[0].endpoint, s.endpoint, account)
		}
		if err != nil {
			return err
		}
		changed = changed || done
	}
	return nil
}

// change changes one endpoint. done is false when the login is gone.
func (s *session) change(ctx context.Context, c *config, account string, v redact.Bytes, turn string, mayBeGone bool) (done bool, err error) {
	mine, err := s.rights(ctx)
	if err == nil && !mine.alterLogin {
		err = rotator.Fail(rotator.Denied, nil, "the administrator may not change logins at %s: GRANT ALTER ANY LOGIN", s.endpoint)
	}
	var found *login
	if err == nil {
		found, err = s.login(ctx, account)
	}
	switch {
	case err != nil:
		return false, failed(err, "looking for the login %q at %s", account, s.endpoint)
	case found == nil && mayBeGone:
		return false, nil // what is gone accepts nothing
	case found == nil:
		return false, rotator.Fail(rotator.Misconfigured, nil, "there is no SQL login %q at %s: create it with the SID that it has at the other replicas", account, s.endpoint)
	case found.locked:
		return false, rotator.Fail(rotator.Busy, nil, "the login %q is locked out at %s: somebody tries wrong passwords", account, s.endpoint)
	}
	password := hashed(v) + " HASHED"
	if c.Send == sendText {
		password = literal(string(v.Reveal()))
	}
	deadline, _ := ctx.Deadline()
	if ctx.Err() != nil {
		return false, rotator.Fail(rotator.NotApplied, ctx.Err(), "the time was over before %q was changed at %s", account, s.endpoint)
	}
	batch := fmt.Sprintf("SET XACT_ABORT ON; SET LOCK_TIMEOUT %d;\nIF SYSUTCDATETIME() >= '%s' THROW %d, 'keywright: this batch came too late', 1;\nBEGIN TRANSACTION; ALTER LOGIN %s WITH PASSWORD = %s; ALTER LOGIN %s %s; COMMIT TRANSACTION;",
		max(1, time.Until(deadline).Milliseconds()), deadline.Add(s.clock).UTC().Format("2006-01-02T15:04:05.999999"), tooLate, quote(account), password, quote(account), turn)
	_, err = s.ExecContext(ctx, batch)
	switch {
	case err == nil:
		return true, nil
	case number(err) == 0:
		return true, rotator.Fail(rotator.Doubt, err, "the change of %q at %s was not acknowledged: log in to see what holds", account, s.endpoint)
	default: // XACT_ABORT: whatever the server refused undid everything
		return false, rotator.Fail(classify(err), cause(err), "%s refused to change the login %q", s.endpoint, account)
	}
}

// lock waits for other changes of the login. The lock is the session's and ends with it.
func (s *session) lock(ctx context.Context, account string) error {
	sum := sha256.Sum256([]byte(account))
	deadline, _ := ctx.Deadline()
	rows, err := s.texts(ctx, "DECLARE @r int; EXEC @r = sp_getapplock @Resource = @p1, @LockMode = 'Exclusive', @LockOwner = 'Session', @LockTimeout = @p2; SELECT CONVERT(nvarchar(9), @r)",
		"keywright login "+hex.EncodeToString(sum[:]), max(1, time.Until(deadline).Milliseconds()/2))
	if err != nil {
		return failed(err, "waiting for another change of %q at %s", account, s.endpoint)
	}
	if len(rows) != 1 || strings.HasPrefix(rows[0][0], "-") {
		return rotator.Fail(rotator.Busy, nil, "another change of %q at %s takes too long", account, s.endpoint)
	}
	return nil
}
