package graph_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door/azure/graph"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/tenancy/tenancytest"
)

type world struct {
	*tenancytest.World
	server *httptest.Server
	// user, when set, is who every request comes from: people cannot sign in without a browser.
	user *guard.Caller
}

// Authenticate implements graph.Authenticator.
func (w *world) Authenticate(ctx context.Context, token string, audiences identity.Audiences) (*guard.Caller, error) {
	if w.user != nil {
		return w.user, nil
	}
	return w.Identity.Authenticate(ctx, token, audiences)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: tenancytest.New(t)}
	d, err := graph.New(graph.Config{Guard: w.Guard, Callers: w, Access: w.Access, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler),
		Authority: func(string) string { return "https://login.test/t" }})
	w.Must(err)
	w.server = httptest.NewTLSServer(d)
	t.Cleanup(w.server.Close)
	return w
}

type reply struct {
	Status int
	Header http.Header
	Value  []map[string]any
	ID     string
	Error  struct{ Code string }
}

func (w *world) do(who *tenancytest.Person, method, path, body string) (a reply) {
	w.TB.Helper()
	r, err := http.NewRequestWithContext(w.Ctx, method, w.server.URL+path, strings.NewReader(body))
	w.Must(err)
	if who != nil {
		r.Header.Set("Authorization", "Bearer "+who.Token("https://graph.microsoft.com"))
	}
	resp, err := w.server.Client().Do(r)
	w.Must(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	w.Must(err)
	w.Must(json.Unmarshal(b, &a))
	a.Status, a.Header = resp.StatusCode, resp.Header
	return a
}

func (a reply) ids() string {
	var list []string
	for _, v := range a.Value {
		list = append(list, v["id"].(string))
	}
	return strings.Join(list, " ")
}

func TestFilters(t *testing.T) {
	w := newWorld(t)
	owner := w.Home.Owner
	app := w.Home.Person("shop")
	ann := w.Home.Other(principal.User, "ann")
	team := w.Home.Other(principal.GroupKind, "the team")
	w.Tenant("other").Person("shop") // never seen from here
	for _, tt := range []struct {
		collection, filter string
		want               principal.ID
	}{
		{"servicePrincipals", "servicePrincipalNames/any(c:c eq '" + app.AppID + "')", app.Principal.ID},
		{"servicePrincipals", "displayName eq 'SHOP'", app.Principal.ID},
		{"servicePrincipals", "startswith(displayName,'sho')", app.Principal.ID},
		{"servicePrincipals", "appId eq '" + app.AppID + "'", app.Principal.ID},
		{"servicePrincipals", "id eq '" + strings.ToUpper(string(app.Principal.ID)) + "'", app.Principal.ID},
		{"servicePrincipals", "displayName eq 'shop' and appId eq '" + owner.AppID + "'", ""},
		{"servicePrincipals", "displayName eq 'shop' and displayName eq 'owner'", ""},
		{"servicePrincipals", "displayName eq ''", ""},
		{"servicePrincipals", "displayName eq 'ann'", ""},
		{"users", "userPrincipalName eq 'ANN@example.org'", ann.ID},
		{"users", "userPrincipalName eq 'bob@example.org' or mail eq 'ann@example.org'", ann.ID},
		{"users", "startswith(displayName,'a')", ann.ID},
		{"groups", "displayName eq 'the team'", team.ID},
		{"applications", "displayName eq 'shop'", principal.ID(app.AppID)},
	} {
		a := w.do(owner, "GET", "/v1.0/"+tt.collection+"?$filter="+url.QueryEscape(tt.filter), "")
		if a.Status != 200 || a.ids() != string(tt.want) {
			t.Errorf("%s %s: %d %q, want %q", tt.collection, tt.filter, a.Status, a.ids(), tt.want)
		}
	}
	for _, filter := range []string{"color eq 'red'", "endswith(displayName,'x')", "userPrincipalName eq 'x'"} {
		if a := w.do(owner, "GET", "/v1.0/servicePrincipals?$filter="+url.QueryEscape(filter), ""); a.Status != 400 || a.Error.Code != "Request_BadRequest" {
			t.Errorf("%s: %d %s", filter, a.Status, a.Error.Code)
		}
	}
}

// az finds out by an error of /me that it runs as an application, and then looks itself up.
func TestWhoAmI(t *testing.T) {
	w := newWorld(t)
	app := w.Home.Person("shop")
	if a := w.do(app, "GET", "/v1.0/me", ""); a.Status != 400 {
		t.Errorf("/me of an application: %d", a.Status)
	}
	if a := w.do(app, "GET", "/v1.0/servicePrincipals?$filter="+url.QueryEscape("servicePrincipalNames/any(c:c eq '"+app.AppID+"')"), ""); a.ids() != string(app.Principal.ID) {
		t.Errorf("an application finds %q", a.ids())
	}
	ann := w.Home.Other(principal.User, "ann")
	w.user = &guard.Caller{Principal: ann.ID, Tenant: w.Home.ID, Kind: principal.User}
	if a := w.do(app, "GET", "/v1.0/me", ""); a.Status != 200 || a.ID != string(ann.ID) {
		t.Errorf("/me of a user: %d %s", a.Status, a.ID)
	}
}

func TestOthersAreSeenByWhoAssignsRoles(t *testing.T) {
	w := newWorld(t)
	app, other := w.Home.Person("shop"), w.Home.Person("other")
	path := "/v1.0/servicePrincipals/" + string(other.Principal.ID)
	if a := w.do(app, "GET", path, ""); a.Status != 404 || a.Error.Code != "Request_ResourceNotFound" {
		t.Errorf("without a role: %d %s", a.Status, a.Error.Code)
	}
	v := w.Home.MakeVault("box")
	w.Home.Grant(app, authz.DataAccessAdministrator, v.Scope())
	if a := w.do(app, "GET", path, ""); a.Status != 200 || a.ID != string(other.Principal.ID) {
		t.Errorf("with a role: %d %s", a.Status, a.Error.Code)
	}
	if a := w.do(w.Tenant("foreign").Owner, "GET", path, ""); a.Status != 404 {
		t.Errorf("from another tenant: %d", a.Status)
	}
	if a := w.do(nil, "GET", path, ""); a.Status != 401 || a.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a token: %d", a.Status)
	}
}

func TestGetByIDs(t *testing.T) {
	w := newWorld(t)
	team, ann := w.Home.Other(principal.GroupKind, "team"), w.Home.Other(principal.User, "ann")
	body := `{"ids":["` + string(team.ID) + `","` + string(ann.ID) + `","` + string(w.Home.Owner.Principal.ID) + `"],"types":["user","group"]}`
	a := w.do(w.Home.Owner, "POST", "/v1.0/directoryObjects/getByIds", body)
	if a.Status != 200 || a.ids() != string(team.ID)+" "+string(ann.ID) || a.Value[0]["@odata.type"] != "#microsoft.graph.group" {
		t.Errorf("got %+v", a)
	}
	if a := w.do(w.Home.Owner, "POST", "/v1.0/directoryObjects/getByIds", `{"ids":[]}`); a.Status != 400 {
		t.Errorf("no ids: %d", a.Status)
	}
}
