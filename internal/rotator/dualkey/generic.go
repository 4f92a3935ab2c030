package dualkey

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// generic is a service that a policy describes.
type generic struct {
	*web
	config *httpConfig
}

func (g *generic) system() string  { return g.config.System }
func (g *generic) slots() []string { return g.config.Slots }
func (g *generic) identity(account string) string {
	return fmt.Sprintf("http:%s:%q", g.config.System, account)
}

// address fills names into an address, where they may contain anything.
func address(template, account, slot string) string {
	return strings.NewReplacer("{account}", url.PathEscape(account), "{slot}", url.PathEscape(slot)).Replace(template)
}

// authorize puts a credential where the service looks for it. The user's name is escaped: a colon would end it.
func (a *auth) authorize(c rotator.Credential) http.Header {
	r := &http.Request{Header: http.Header{}}
	if a.Basic {
		r.SetBasicAuth(url.PathEscape(c.Account), string(c.Value.Reveal()))
	} else {
		r.Header.Set(a.Header, a.Prefix+string(c.Value.Reveal()))
	}
	return r.Header
}

func (g *generic) list(ctx context.Context, account string) ([]rotator.Slot, error) {
	answer, err := g.good(ctx, &request{method: g.config.List.Method, url: address(g.config.List.URL, account, ""), header: g.config.Auth.authorize(g.admin),
		what: "listing the keys of " + fmt.Sprintf("%q", account)})
	if err != nil {
		return nil, err
	}
	var slots []rotator.Slot
	for _, name := range g.config.Slots {
		if value, ok := find(answer.Body, pointer(g.config.Values, name)); ok && value != "" {
			slots = append(slots, rotator.Slot{Credential: rotator.Credential{Account: account, Slot: name, Value: redact.Bytes(value)}})
		}
	}
	return both(slots, account)
}

func (g *generic) regenerate(ctx context.Context, account, slot string) error {
	_, err := g.good(ctx, &request{method: g.config.Regenerate.Method, url: address(g.config.Regenerate.URL, account, slot), header: g.config.Auth.authorize(g.admin), effect: true,
		what: "regenerating " + slot + " of " + fmt.Sprintf("%q", account)})
	return err
}

func (g *generic) login(ctx context.Context, c rotator.Credential) rotator.Login {
	where := address(g.config.Login.URL, c.Account, c.Slot)
	one := rotator.Login{Endpoint: at(where)}
	answer, err := g.do(ctx, &request{method: g.config.Login.Method, url: where, header: g.config.Auth.authorize(c), what: "trying a key"})
	if err != nil {
		one.Detail = err.Error()
		return one
	}
	switch who, _ := find(answer.Body, g.config.Identity); {
	case answer.Status == http.StatusUnauthorized:
		one.Verdict, one.Detail = rotator.Rejected, "the service refuses the key (401)"
	case answer.Status != http.StatusOK:
		one.Detail = fmt.Sprintf("status %d", answer.Status)
	case who != c.Account:
		one.Detail = "the key works, and for another account"
	default:
		one.Verdict, one.Identity = rotator.Accepted, g.identity(c.Account)
	}
	return one
}

// pointer fills a slot into a JSON pointer.
func pointer(template, slot string) string {
	return strings.ReplaceAll(template, "{slot}", strings.NewReplacer("~", "~0", "/", "~1").Replace(slot))
}

// find returns the text at a JSON pointer (RFC 6901).
func find(document []byte, pointer string) (string, bool) {
	var at any
	if json.Unmarshal(document, &at) != nil {
		return "", false
	}
	for _, step := range strings.Split(pointer, "/")[1:] {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		switch v := at.(type) {
		case map[string]any:
			at = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return "", false
			}
			at = v[i]
		default:
			return "", false
		}
	}
	text, ok := at.(string)
	return text, ok
}
