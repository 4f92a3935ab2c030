package nats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// users is the content of a users file: a JSON object, which the server's own format takes too. What is not ours stays as it is.
type users struct {
	list []user
}

// user is one with all of its members, in the order of their names.
type user map[string]json.RawMessage

// name is the user's login; "" for one that has none, such as an nkey.
func (u user) name() string {
	var name string
	_ = json.Unmarshal(u["user"], &name) // absent, or not a string: no name
	return name
}

// parseUsers reads a file. It refuses what it could not write back: another member beside users, a user twice, text after the end.
func parseUsers(text []byte) (*users, error) {
	var file struct {
		Users []user `json:"users"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf(`it is not of the form {"users": [...]}: %w`, withoutText(err))
	}
	if d.More() {
		return nil, errors.New("it has more after the end of its object")
	}
	seen := map[string]bool{}
	for i, u := range file.Users {
		name := u.name()
		switch {
		case u == nil:
			return nil, fmt.Errorf("user %d is null", i+1)
		case name != "" && seen[name]:
			return nil, fmt.Errorf("it has the user %q twice, with which no server starts", name)
		}
		seen[name] = true
	}
	return &users{list: file.Users}, nil
}

// withoutText keeps the place of a mistake and drops what stands there: it may be a hash.
func withoutText(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("mistake at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("%s at byte %d is of the wrong type", kind.Field, kind.Offset)
	case strings.HasPrefix(err.Error(), "json: unknown field"):
		return errors.New("it has a member beside users")
	}
	return errors.New("it ends too early")
}

// find returns the user with the name, or nil.
func (f *users) find(name string) user {
	for _, u := range f.list {
		if name != "" && u.name() == name {
			return u
		}
	}
	return nil
}

// password is the user's hash.
func (u user) password() string {
	var hash string
	_ = json.Unmarshal(u["password"], &hash) // absent, or not a string: no password
	return hash
}

func (u user) setPassword(hash string) { u["password"] = encode(hash) }

// bytes is the file again, a user on each line.
func (f *users) bytes() []byte {
	var out bytes.Buffer
	out.WriteString("{\"users\": [\n")
	for i, u := range f.list {
		out.WriteString("  ")
		out.Write(encode(u))
		if i < len(f.list)-1 {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
	}
	out.WriteString("]}\n")
	return out.Bytes()
}

// encode is JSON without the escapes that a server's format does not know (\u003c for <, of HTML).
func encode(v any) json.RawMessage {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings and raw JSON that was parsed before
	}
	return bytes.TrimSpace(out.Bytes())
}

// writable reports whether a server reads the name as JSON means it: its format has \", \\ and a few more escapes, and none of the form \u.
func writable(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || r == unicode.ReplacementChar || r == '\u2028' || r == '\u2029'
	})
}
