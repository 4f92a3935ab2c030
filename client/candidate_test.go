package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestACandidateIsTriedWhereTheTargetIsAhead goes through a rotation of a single password as a consumer meets it: the candidate is published, the target takes
// it, takes it back, takes it again, and only then the server calls it current.
func TestACandidateIsTriedWhereTheTargetIsAhead(t *testing.T) {
	current, offered := "one", true
	c, _ := fake(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost: // an acknowledgement
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Query().Get("label") == "":
			fmt.Fprintf(w, `{"name":"db","version":"v-%s","value":%q,"labels":["current"]}`, current, current)
		case offered:
			fmt.Fprint(w, `{"name":"db","version":"v-two","value":"two","labels":["pending","candidate"]}`)
		default:
			problem(404, NotFound)(w, r)
		}
	})
	v, err := NewValue(t.Context(), ValueConfig{Vault: c.Vault("v"), Name: "db", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	v.Close() // nothing happens but what the test asks for
	errRefused := errors.New("refused")
	accepted, tries := "one", 0
	signIn := func(want error, mostTries int) {
		t.Helper()
		tries = 0
		err := v.SignIn(t.Context(), func(_ context.Context, s *Secret) error {
			if tries++; string(s.Bytes()) == accepted {
				return nil
			}
			return errRefused
		}, func(err error) bool { return errors.Is(err, errRefused) })
		if !errors.Is(err, want) || tries > mostTries {
			t.Errorf("signing in: %v after %d tries", err, tries)
		}
	}
	is := func(want string) {
		t.Helper()
		if got := string(v.Current().Bytes()); got != want {
			t.Errorf("the value is %q, want %q", got, want)
		}
	}
	signIn(nil, 1)
	accepted = "two"
	signIn(nil, 2)
	is("two")
	if _, err := v.refetch(t.Context()); err != nil {
		t.Error(err)
	}
	is("two") // the server's word is older than the target's
	signIn(nil, 1)
	accepted = "one"
	signIn(nil, 2)
	is("one")
	accepted = "two"
	signIn(nil, 2)
	current, offered = "two", false
	if _, err := v.refetch(t.Context()); err != nil {
		t.Error(err)
	}
	is("two")
	accepted = "three"
	signIn(errRefused, 1)
	is("two")
}
