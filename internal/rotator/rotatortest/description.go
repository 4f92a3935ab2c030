package rotatortest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
)

func (s *suite) description(t *testing.T) {
	d := s.Rotator.Describe()
	if again := s.Rotator.Describe(); !reflect.DeepEqual(d, again) {
		t.Errorf("Describe is not constant: %+v, then %+v", d, again)
	}
	if d.Name == "" || d.Title == "" {
		t.Errorf("the rotator has no name (%q) or no title (%q)", d.Name, d.Title)
	}
	if len(d.Verified)+len(d.Unverified) == 0 {
		t.Error("the description says nothing of what was verified and what was not")
	}
	for _, strategy := range s.Strategies {
		if !d.Supports(strategy) {
			t.Errorf("the suite goes through %s, which the description does not offer", strategy)
		}
	}
	if d.Value.Length < 16 || len(d.Value.Alphabet) < 10 || strings.ContainsFunc(d.Value.Alphabet, func(r rune) bool { return r < '!' || r > '~' }) {
		t.Errorf("values of %d characters out of %q are too weak, or not printable ASCII", d.Value.Length, d.Value.Alphabet)
	}
	documented := map[string]bool{}
	for _, m := range d.Config {
		if m.Name == "" || m.Type == "" || m.Help == "" {
			t.Errorf("a member of the configuration lacks its name, type or help: %+v", m)
		}
		documented[m.Name] = true
	}
	for name := range s.members(t) {
		if !documented[name] {
			t.Errorf("the description does not explain the member %q of the configuration", name)
		}
	}
}

// members are those of a good configuration.
func (s *suite) members(t *testing.T) map[string]json.RawMessage {
	t.Helper()
	addresses := make([]string, len(s.Endpoints))
	for i := range addresses {
		addresses[i] = fmt.Sprintf("127.0.0.1:%d", 1+i)
	}
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(s.Target(t, addresses).Config, &members); err != nil {
		t.Fatalf("the subject's configuration is no JSON object: %v", err)
	}
	return members
}

func (s *suite) configuration(t *testing.T) {
	members := s.members(t)
	encode := func() json.RawMessage {
		text, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if err := s.Rotator.Check(encode()); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	members["surprise"] = json.RawMessage("1")
	if err := s.Rotator.Check(encode()); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "surprise") {
		t.Errorf("a member that nobody knows: %v, want a fault.Invalid that names it", err)
	}
	for _, bad := range []string{`[]`, `"x"`, `{`} {
		if err := s.Rotator.Check(json.RawMessage(bad)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want a fault.Invalid", bad, err)
		}
	}
	if len(s.Complaints) < 2 {
		t.Fatal("the subject's broken configuration needs two mistakes, or more")
	}
	err := s.Rotator.Check(s.Broken)
	if !fault.Is(err, fault.Invalid) {
		t.Fatalf("the broken configuration: %v, want a fault.Invalid", err)
	}
	for _, word := range s.Complaints {
		if !strings.Contains(fault.As(err).Message, word) {
			t.Errorf("the error does not speak of %q, so not every mistake is named at once: %v", word, err)
		}
	}
}
