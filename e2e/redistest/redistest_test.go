package redistest_test

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/redistest"
)

func TestServer(t *testing.T) {
	for name, c := range map[string]struct {
		config    redistest.Config
		save      []any
		remembers bool
	}{
		"a user file":               {redistest.Config{}, []any{"ACL", "SAVE"}, true},
		"the configuration file":    {redistest.Config{Keeping: redistest.ConfigFile}, []any{"CONFIG", "REWRITE"}, true},
		"a sentinel":                {redistest.Config{Sentinel: true}, []any{"SENTINEL", "FLUSHCONFIG"}, true},
		"nothing that is permanent": {redistest.Config{Keeping: redistest.Nowhere}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Run(t, c.config)
			if _, err := s.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">right", "~*", "+@all"); err != nil {
				t.Fatal(err)
			}
			app, wrong := s.Client("app", "right"), s.Client("app", "wrong")
			defer app.Close()
			defer wrong.Close()
			if who, err := app.Do(t.Context(), "ACL", "WHOAMI").Text(); err != nil || who != "app" {
				t.Errorf("logged in as %q, %v", who, err)
			}
			if err := wrong.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
				t.Errorf("a wrong password: %v", err)
			}
			if c.save != nil {
				if _, err := s.Do(t.Context(), c.save...); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			again := s.Client("app", "right")
			defer again.Close()
			if err := again.Do(t.Context(), "ACL", "WHOAMI").Err(); (err == nil) != c.remembers {
				t.Errorf("after a restart: %v, want it to remember: %v", err, c.remembers)
			}
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Do(t.Context(), "PING"); err == nil {
				t.Error("a stopped server answers")
			}
		})
	}
}
