package postgres

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
)

func TestConfigurations(t *testing.T) {
	for _, c := range []struct{ config, complaint string }{
		{`{"endpoints":["db.example:5432"],"database":"app"}`, ""},
		{`{"endpoints":["[::1]:5432","127.0.0.2:5433"],"database":"app","tls":{"mode":"disable"}}`, ""},
		{`{"endpoints":["db.example:5432"],"database":"app","tls":{"mode":"disable"}}`, "loopback"},
		{`{"endpoints":["localhost:5432"],"database":"app","tls":{"mode":"disable"}}`, "loopback"},
		{`{"endpoints":["db:5432"],"database":"app","tls":{"mode":"require","ca":"x"}}`, "no certificate"},
		{`{"endpoints":["db:5432"],"database":"app","tls":{"mode":"prefer"}}`, "tls.mode"},
		{`{"endpoints":["db:5432","db:5432"],"database":"app"}`, "twice"},
		{`{"endpoints":["/tmp:5432"],"database":"app"}`, "host:port"},
		{`{"endpoints":["db:0"],"database":"app"}`, "host:port"},
		{`{"endpoints":["db:65536"],"database":"app"}`, "host:port"},
		{`{"endpoints":["a:1"],"database":"` + strings.Repeat("d", 64) + `"}`, "database"},
		{`{"endpoints":["a:1"],"database":"d","ownerRole":"` + strings.Repeat("d", 64) + `"}`, "ownerRole"},
		{`{"endpoints":["a:1"],"database":"d","connectTimeout":"2h"}`, "connectTimeout"},
		{`{}`, "endpoints"},
		{``, "database"},
	} {
		err := New().Check(json.RawMessage(c.config))
		if c.complaint == "" && err != nil {
			t.Errorf("%s: %v", c.config, err)
		}
		if c.complaint != "" && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.complaint)) {
			t.Errorf("%s: %v, want a complaint about %s", c.config, err, c.complaint)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(`{"endpoints":["db.example:5432"],"database":"app","tls":{"mode":"require"},"connectTimeout":"3s"}`)
	f.Add(`{"endpoints":["127.0.0.1:1","[::1]:2"],"database":"a","tls":{"mode":"disable"},"ownerRole":"o"}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(json.RawMessage(text))
		if err != nil {
			if c != nil || !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: %v, %v", text, c, err)
			}
			return
		}
		if len(c.Endpoints) == 0 || c.Database == "" || c.timeout <= 0 {
			t.Errorf("%q was let through: %+v", text, c)
		}
		for _, e := range c.Endpoints {
			if host, _, err := split(e); err != nil || c.tls == nil && !loopback(host) {
				t.Errorf("%q was let through with the endpoint %q, %v", text, e, err)
			}
		}
	})
}
