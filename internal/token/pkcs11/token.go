//go:build pkcs11

package pkcs11

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	p11 "github.com/miekg/pkcs11"

	"github.com/keywright/keywright/internal/fault"
)

const defaultSessions = 8

// Token is an open token. It is safe for concurrent use.
type Token struct {
	module   *p11.Ctx
	finalize bool
	slot     uint
	pin      string
	info     Info
	// sessions has those that are idle; Close closes it once all opened ones are back.
	sessions  chan *session
	opened    int
	closeOnce sync.Once
	// making holds back a second Generate until the first is done, because a token does not keep ids unique.
	making sync.Mutex
}

// session is one of a token's, which one goroutine uses at a time: an operation in it has a beginning and an end.
type session struct {
	handle p11.SessionHandle
	// open is false when the token has closed it; it is opened again when it is needed.
	open bool
}

// Open loads the module, finds the token and logs in. The caller must call Close. A token that is not there is fault.Unavailable, a PIN
// that is not right fault.Forbidden: it is not tried again, since tokens lock themselves after a few tries.
func Open(c Config) (*Token, error) {
	if c.Module == "" || c.Token == "" {
		return nil, fault.New(fault.Invalid, "a PKCS#11 token needs the path of its module and its label")
	}
	if c.Sessions < 0 {
		return nil, fault.New(fault.Invalid, "a token has one session or more, and not %d", c.Sessions)
	}
	if c.Sessions == 0 {
		c.Sessions = defaultSessions
	}
	module := p11.New(c.Module)
	if module == nil {
		return nil, fault.New(fault.Unavailable, "the PKCS#11 module %s cannot be loaded; check the path", c.Module)
	}
	t := &Token{module: module, pin: c.PIN.Reveal(), sessions: make(chan *session, c.Sessions)}
	if err := t.start(c); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Token) start(c Config) error {
	err := t.module.Initialize()
	t.finalize = err == nil
	// A module is one for the whole process; another token of it may have come first.
	if err != nil && !is(err, p11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return answer(err, "starting the PKCS#11 module")
	}
	if err := t.findSlot(c.Token); err != nil {
		return err
	}
	for range cap(t.sessions) {
		s := &session{}
		if err := t.reopen(s); err != nil {
			return err
		}
		t.opened++
		t.sessions <- s
	}
	return nil
}

// findSlot looks for the token's slot by its label.
func (t *Token) findSlot(label string) error {
	slots, err := t.module.GetSlotList(true)
	if err != nil {
		return answer(err, "listing the slots")
	}
	found := 0
	for _, slot := range slots {
		info, err := t.module.GetTokenInfo(slot)
		if err != nil || strings.TrimRight(info.Label, " \x00") != label {
			continue // another token, or one that was pulled out meanwhile
		}
		found++
		t.slot = slot
		place, err := t.module.GetSlotInfo(slot)
		if err != nil {
			return answer(err, "asking about the slot")
		}
		t.info = Info{Label: label, Hardware: place.Flags&p11.CKF_HW_SLOT != 0, Manufacturer: trim(info.ManufacturerID), Model: trim(info.Model), Serial: trim(info.SerialNumber),
			Firmware: fmt.Sprintf("%d.%d", info.FirmwareVersion.Major, info.FirmwareVersion.Minor)}
	}
	switch {
	case found == 0:
		return fault.New(fault.Unavailable, "there is no PKCS#11 token with the label %q; is it plugged in?", label)
	case found > 1:
		return fault.New(fault.Invalid, "%d PKCS#11 tokens have the label %q; give each its own", found, label)
	}
	return nil
}

// trim drops the blanks that PKCS#11 fills its fixed-width texts with.
func trim(s string) string { return strings.TrimRight(s, " \x00") }

// reopen opens a session and logs in. All sessions of a process share the login.
func (t *Token) reopen(s *session) error {
	handle, err := t.module.OpenSession(t.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	if err != nil {
		return answer(err, "opening a session with the token")
	}
	if err := t.module.Login(handle, p11.CKU_USER, t.pin); err != nil && !is(err, p11.CKR_USER_ALREADY_LOGGED_IN) {
		_ = t.module.CloseSession(handle)
		return answer(err, "logging in to the token")
	}
	s.handle, s.open = handle, true
	return nil
}

// with lends a session to f. Should the token have closed it, the next call opens another.
func (t *Token) with(f func(p11.SessionHandle) error) error {
	s, more := <-t.sessions
	if !more {
		return fault.New(fault.Unavailable, "the PKCS#11 token has been closed")
	}
	defer func() { t.sessions <- s }()
	if !s.open {
		if err := t.reopen(s); err != nil {
			return err
		}
	}
	err := f(s.handle)
	if is(err, p11.CKR_SESSION_HANDLE_INVALID) || is(err, p11.CKR_SESSION_CLOSED) || is(err, p11.CKR_DEVICE_REMOVED) ||
		is(err, p11.CKR_TOKEN_NOT_PRESENT) || is(err, p11.CKR_USER_NOT_LOGGED_IN) || is(err, p11.CKR_DEVICE_ERROR) {
		_ = t.module.CloseSession(s.handle)
		s.open = false
	}
	return err
}

// Info is what the token says of itself.
func (t *Token) Info() Info { return t.info }

// Name is the token's label.
func (t *Token) Name() string { return t.info.Label }

// Hardware reports whether the token is one of hardware.
func (t *Token) Hardware() bool { return t.info.Hardware }

// Close waits for operations to end and ends the sessions. Keys of the token answer fault.Unavailable afterwards. It may be called again.
func (t *Token) Close() error {
	var err error
	t.closeOnce.Do(func() {
		for range t.opened {
			s := <-t.sessions
			if s.open {
				err = errors.Join(err, t.module.CloseSession(s.handle))
			}
		}
		close(t.sessions)
		if t.finalize {
			err = errors.Join(err, t.module.Finalize())
		}
	})
	return err
}

func is(err error, code uint) bool {
	var e p11.Error
	return errors.As(err, &e) && uint(e) == code
}

// answer gives an error of the token a kind. The token's own words go to the log.
func answer(err error, doing string) error {
	if err == nil || fault.As(err) != nil {
		return err
	}
	var e p11.Error
	errors.As(err, &e)
	switch uint(e) {
	case p11.CKR_MECHANISM_INVALID, p11.CKR_MECHANISM_PARAM_INVALID, p11.CKR_FUNCTION_NOT_SUPPORTED, p11.CKR_KEY_FUNCTION_NOT_PERMITTED,
		p11.CKR_KEY_TYPE_INCONSISTENT, p11.CKR_ARGUMENTS_BAD, p11.CKR_CURVE_NOT_SUPPORTED, p11.CKR_ATTRIBUTE_VALUE_INVALID, p11.CKR_DOMAIN_PARAMS_INVALID:
		return fault.Wrap(fmt.Errorf("%s: %w", doing, err), fault.Unsupported, "the PKCS#11 token cannot do this; use an algorithm that it has, or a key that is not in a token")
	case p11.CKR_PIN_INCORRECT, p11.CKR_PIN_LOCKED, p11.CKR_PIN_EXPIRED, p11.CKR_PIN_INVALID, p11.CKR_PIN_LEN_RANGE:
		return fault.Wrap(fmt.Errorf("%s: %w", doing, err), fault.Forbidden, "the PKCS#11 token does not take the PIN; correct it before the token locks itself")
	}
	return fault.Wrap(fmt.Errorf("%s: %w", doing, err), fault.Unavailable, "the PKCS#11 token did not do its work; try again, and look at the token if it goes on")
}
