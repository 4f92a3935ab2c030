package rotation

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"math/big"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// Credentials as they stand in the values of versions. Whoever gets one zeroes its value.

// login is what a value says of a credential. Account is empty for a raw one.
type login struct {
	account string
	value   redact.Bytes
}

// parse reads a credential from a version's value.
func (f Format) parse(value []byte) (login, error) {
	if f.Kind == Raw {
		if len(value) == 0 {
			return login{}, errNoCredential("it is empty")
		}
		return login{value: bytes.Clone(value)}, nil
	}
	if f.Kind == URL {
		return parseURL(value)
	}
	user, password := f.members()
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil { // its error may quote the value
		return login{}, errNoCredential("it is not a JSON object")
	}
	var l login
	var text string
	if raw, ok := members[user]; ok && json.Unmarshal(raw, &l.account) != nil {
		return login{}, errNoCredential("its member " + user + " is not a text")
	}
	if json.Unmarshal(members[password], &text) != nil || text == "" {
		return login{}, errNoCredential("its member " + password + " is not a text with a password")
	}
	l.value = redact.Bytes(text)
	return l, nil
}

func errNoCredential(why string) error {
	return fault.New(fault.Invalid, "the value is no credential: %s", why).Because("NoCredential")
}

// compose writes a credential into a value. Of a JSON value the members that are not the credential's stay as they are in like, which may be
// empty.
func (f Format) compose(like []byte, account string, value redact.Bytes) ([]byte, error) {
	if f.Kind == Raw {
		return bytes.Clone(value), nil
	}
	if f.Kind == URL {
		return composeURL(like, account, value)
	}
	user, password := f.members()
	members := make(map[string]json.RawMessage)
	if len(like) > 0 && json.Unmarshal(like, &members) != nil {
		return nil, errNoCredential("the value before is not a JSON object, so its other members cannot be kept")
	}
	var err error
	if members[user], err = json.Marshal(account); err != nil {
		return nil, err
	}
	if members[password], err = json.Marshal(string(value.Reveal())); err != nil {
		return nil, err
	}
	return json.Marshal(members)
}

// generate draws a value at random by the rules.
func generate(rules rotator.ValueRules) (redact.Bytes, error) {
	var letters []byte
	for i := range len(rules.Alphabet) {
		if c := rules.Alphabet[i]; isLower(c) || isUpper(c) {
			letters = append(letters, c)
		}
	}
	if rules.Length < MinValueLength || len(letters) == 0 {
		return nil, fault.New(fault.Invalid, "the value rules make no safe value: correct the policy")
	}
	value := make(redact.Bytes, rules.Length)
	for {
		for i := range value {
			from := []byte(rules.Alphabet)
			if i == 0 {
				from = letters
			}
			c, err := draw(from)
			if err != nil {
				return nil, err
			}
			value[i] = c
		}
		// What lacks a class is drawn anew as a whole: every value that has them all stays equally likely.
		if !rules.Classes || bytes.ContainsFunc(value, func(r rune) bool { return isLower(byte(r)) }) &&
			bytes.ContainsFunc(value, func(r rune) bool { return isUpper(byte(r)) }) && bytes.ContainsFunc(value, func(r rune) bool { return isDigit(byte(r)) }) {
			return value, nil
		}
	}
}

func draw(from []byte) (byte, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(len(from))))
	if err != nil {
		return 0, err
	}
	return from[n.Int64()], nil
}

// rules are those of the policy, else of the rotator. A strict value has letters and digits only, of every class: what targets refuse least.
func (p *Policy) rules(d *rotator.Description, strict bool) rotator.ValueRules {
	rules := rotator.DefaultValue
	switch {
	case p.Value != nil:
		rules = *p.Value
	case d != nil && d.Value.Length > 0:
		rules = d.Value
	}
	if strict {
		rules.Alphabet, rules.Classes = rotator.DefaultValue.Alphabet, true
	}
	return rules
}
