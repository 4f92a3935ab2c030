package auditing_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/auditing"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/tenancy/tenancytest"
	"github.com/keywright/keywright/internal/vault"
)

// world is an installation with a secret service and the auditing service over one real audit log.
type world struct {
	*tenancytest.World
	*auditing.Service
	secrets *secret.Service
	log     *tenancytest.Log
}

func newWorld(t *testing.T, edit func(*auditing.Config)) *world {
	t.Helper()
	w := &world{World: tenancytest.New(t)}
	w.log = w.OpenLog()
	c := auditing.Config{Guard: w.log.Guard, Store: w.Store, Log: w.log.Log, CatchUp: w.log.CatchUp, Reader: w.log.Reader, Key: w.log.Key}
	if edit != nil {
		edit(&c)
	}
	var err error
	w.Service, err = auditing.New(c)
	w.Must(err)
	w.secrets, err = secret.New(secret.Config{Guard: w.log.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock})
	w.Must(err)
	w.TB.Cleanup(w.Store.Watch(w.secrets.Changed))
	return w
}

// work sets and reads a secret in a tenant's vault and returns the calls.
func (w *world) work(t *tenancytest.Tenant, vaultName, name string) (set, get *guard.Call) {
	w.TB.Helper()
	p := t.Person("worker")
	t.Grant(p, authz.VaultAdministrator, "/")
	view, err := w.log.Guard.View(w.Ctx, vaultName)
	w.Must(err)
	set, get = p.Call("SecretSet"), p.Call("SecretGet")
	set.Vault, get.Vault = view, view
	_, err = w.secrets.Set(w.Ctx, set, name, secret.Input{Value: []byte(canary), Enabled: true})
	w.Must(err)
	_, _, err = w.secrets.Get(w.Ctx, get, secret.Selector{Name: name}, nil)
	w.Must(err)
	return set, get
}

const canary = "canary-of-a-value"

func (w *world) auditor(t *tenancytest.Tenant) *tenancytest.Person {
	p := t.Person("auditor")
	t.Grant(p, authz.KeywrightAuditor, "/")
	return p
}

// Each method asks for its own action, and leaves a record of whoever looked or was refused.
func TestEveryMethodIsAuthorised(t *testing.T) {
	w := newWorld(t, nil)
	methods := map[string]struct {
		needs authz.Action
		do    func(*guard.Call) error
	}{
		"Query": {authz.AuditRead, func(c *guard.Call) error {
			_, err := w.Query(w.Ctx, c, audit.Filter{})
			return err
		}},
		"Export": {authz.AuditExport, func(c *guard.Call) error {
			return w.Export(w.Ctx, c, audit.Filter{}, auditing.CEF, func([]archive.Missing) io.Writer { return io.Discard })
		}},
		"Verify": {authz.AuditVerify, func(c *guard.Call) error {
			_, err := w.Verify(w.Ctx, c, nil)
			return err
		}},
		"Checkpoint": {authz.AuditVerify, func(c *guard.Call) error {
			_, err := w.Checkpoint(w.Ctx, c)
			return err
		}},
	}
	service := reflect.TypeFor[*auditing.Service]()
	for i := range service.NumMethod() {
		if name := service.Method(i).Name; methods[name].do == nil {
			t.Errorf("the method %s is not tested: add it to the table", name)
		}
	}
	for name, m := range methods {
		t.Run(name, func(t *testing.T) {
			var others []string
			for _, a := range []authz.Action{authz.AuditRead, authz.AuditExport, authz.AuditVerify} {
				if a != m.needs {
					others = append(others, a.String())
				}
			}
			if err := m.do(&guard.Call{Door: "test", Started: w.Clock.Now()}); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("without a caller: %v", err)
			}
			for who, p := range map[string]*tenancytest.Person{"a stranger": w.Home.Person("stranger"), "a holder of the other actions": w.holding(others...)} {
				call := p.Call(name)
				if err := m.do(call); !fault.Is(err, fault.Forbidden) {
					t.Errorf("%s: %v", who, err)
				}
				w.recorded(t, call, audit.Denied)
			}
			call := w.holding(m.needs.String()).Call(name)
			if err := m.do(call); err != nil {
				t.Errorf("a holder of %s: %v", m.needs, err)
			}
			w.recorded(t, call, audit.Allowed)
		})
	}
}

func (w *world) holding(patterns ...string) *tenancytest.Person {
	w.TB.Helper()
	p := w.Home.Person("holder")
	role, _, err := w.Access.PutRole(w.Ctx, w.Home.Owner.Call(""), "/", principal.Role{ID: vault.NewGUID(), Name: "role " + vault.NewGUID(),
		AssignableScopes: []string{"/"}, Permissions: []principal.Permission{{Actions: patterns}}})
	w.Must(err)
	w.Home.Grant(p, role.ID, "/")
	return p
}

func (w *world) recorded(t *testing.T, call *guard.Call, want audit.Outcome) {
	t.Helper()
	n := 0
	for _, r := range w.log.All() {
		if r.CorrelationID == call.Correlation && r.Outcome == want && r.Tenant == string(call.Caller.Tenant) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%s of %s has %d records", call.Operation, call.Caller.Principal, n)
	}
}

// An auditor of one tenant sees that tenant's records alone, in queries and in every export, and whatever the filter names.
// Records of the installation, which belong to no tenant, are shown to none.
func TestTenantsSeeTheirOwnRecords(t *testing.T) {
	w := newWorld(t, nil)
	other := w.Tenant("other")
	w.Home.MakeVault("homebox")
	other.MakeVault("otherbox")
	_, _ = w.work(w.Home, "homebox", "home-name")
	_, _ = w.work(other, "otherbox", "other-name")
	w.Must(w.log.Append(w.Ctx, &audit.Record{Door: "oauth", Action: "SignIn/test", Operation: "installation-event", Outcome: audit.Denied,
		ObjectName: "installation-name", Caller: audit.Caller{AppID: "installation-app"}}))
	for _, c := range []struct {
		tenant    *tenancytest.Tenant
		own, none string
	}{{w.Home, "home-name", "other-name"}, {other, "other-name", "home-name"}} {
		auditor := w.auditor(c.tenant)
		for _, f := range []audit.Filter{{}, {NewestFirst: true}, {Tenant: string(w.Home.ID)}, {Tenant: string(other.ID)}, {ObjectName: c.none},
			{ObjectName: "installation-name"}, {Operation: "installation-event"}} {
			found, err := w.Query(w.Ctx, auditor.Call("AuditQuery"), f)
			w.Must(err)
			for _, r := range found.Records {
				if r.Tenant != string(c.tenant.ID) {
					t.Errorf("a query with %+v shows the record %+v to an auditor of %s", f, r, c.tenant.ID)
				}
			}
			if narrow := f.ObjectName != "" || f.Operation != ""; narrow == (len(found.Records) > 0) {
				t.Errorf("a query with %+v shows %d records", f, len(found.Records))
			}
		}
		for _, format := range []auditing.Format{auditing.Azure, auditing.OCSF, auditing.CEF, auditing.RFC5424} {
			var out bytes.Buffer
			w.Must(w.Export(w.Ctx, auditor.Call("AuditExport"), audit.Filter{Tenant: string(other.ID)}, format, func([]archive.Missing) io.Writer { return &out }))
			if !strings.Contains(out.String(), c.own) {
				t.Errorf("the export as %s misses the own records: %s", format, out.String())
			}
			for _, text := range []string{c.none, "installation", canary} {
				if strings.Contains(out.String(), text) {
					t.Errorf("the export as %s holds %q", format, text)
				}
			}
		}
	}
	// A caller that belongs to no tenant would select all of them.
	auditor := w.auditor(w.Home).Call("")
	auditor.Caller.Tenant = ""
	if found, err := w.Query(w.Ctx, auditor, audit.Filter{}); err == nil || found != nil {
		t.Errorf("a caller without a tenant sees %+v: %v", found, err)
	}
}

// What was acknowledged before a query is in it: a change, whose record follows it from the journal, and a read, whose record is
// durable later. The log of this test does neither by itself.
func TestReadersSeeWhatWasAcknowledged(t *testing.T) {
	w := newWorld(t, nil)
	w.Home.MakeVault("box")
	auditor := w.auditor(w.Home)
	set, get := w.work(w.Home, "box", "one")
	for _, call := range []*guard.Call{set, get} {
		found, err := w.Query(w.Ctx, auditor.Call("AuditQuery"), audit.Filter{CorrelationID: call.Correlation})
		if err != nil || len(found.Records) != 1 || found.Records[0].ObjectName != "one" || found.Records[0].Outcome != audit.Allowed {
			t.Errorf("a query right behind %s finds %v: %v", call.Operation, found, err)
		}
	}
	// A query is a read itself, behind which no change comes that would have synced the log. What is shown is durable.
	first := auditor.Call("AuditQuery")
	_, err := w.Query(w.Ctx, first, audit.Filter{})
	w.Must(err)
	written := w.log.State().Records
	if s := w.log.State(); s.Synced == written {
		t.Error("the record of a query is durable at once: the test proves nothing")
	}
	if found, err := w.Query(w.Ctx, auditor.Call("AuditQuery"), audit.Filter{CorrelationID: first.Correlation}); err != nil || len(found.Records) != 1 {
		t.Errorf("a query finds %d records of the query before it: %v", len(found.Records), err)
	}
	if s := w.log.State(); s.Synced < written {
		t.Errorf("a query showed %d records, of which %d are durable", written, s.Synced)
	}
	set, _ = w.work(w.Home, "box", "two")
	var out bytes.Buffer
	w.Must(w.Export(w.Ctx, auditor.Call("AuditExport"), audit.Filter{CorrelationID: set.Correlation}, auditing.RFC5424, func([]archive.Missing) io.Writer { return &out }))
	if !strings.Contains(out.String(), "two") {
		t.Errorf("an export right behind a change holds %q", out.String())
	}
	before := w.log.State().Records
	w.work(w.Home, "box", "three")
	reports, err := w.Verify(w.Ctx, auditor.Call("AuditVerify"), nil)
	if err != nil || len(reports) != 1 || !reports[0].OK() || reports[0].Records < before+2 {
		t.Errorf("a proof right behind a change of %d records and two more: %v, %+v", before, err, reports)
	}
}

// A log that lacks records of changes is not read as if it were whole.
func TestReadersAreToldOfALogThatIsBehind(t *testing.T) {
	w := newWorld(t, func(c *auditing.Config) {
		c.CatchUp = func(context.Context) error { return errors.New("no: " + canary) }
	})
	call := w.auditor(w.Home).Call
	_, query := w.Query(w.Ctx, call("AuditQuery"), audit.Filter{})
	_, verify := w.Verify(w.Ctx, call("AuditVerify"), nil)
	export := w.Export(w.Ctx, call("AuditExport"), audit.Filter{}, auditing.Azure, func([]archive.Missing) io.Writer {
		t.Error("an export of a log that is behind began")
		return io.Discard
	})
	for name, err := range map[string]error{"query": query, "verify": verify, "export": export} {
		if e := fault.As(err); !fault.Is(err, fault.Unavailable) || e.Reason != auditing.Behind || strings.Contains(e.Message, canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// unreadable is a store that fails for whoever looks vaults up, once it is broken.
type unreadable struct {
	store.Store
	broken error
}

// View implements store.Store.
func (u *unreadable) View(ctx context.Context, f func(store.Tx) error) error {
	if u.broken != nil {
		return u.broken
	}
	return u.Store.View(ctx, f)
}

// An export that cannot find out which vault a record is about is not written as if the vault were gone.
func TestExportTellsOfAStoreThatFails(t *testing.T) {
	s := &unreadable{}
	w := newWorld(t, func(c *auditing.Config) { s.Store, c.Store = c.Store, s })
	w.Home.MakeVault("box")
	w.work(w.Home, "box", "one")
	call := w.auditor(w.Home).Call
	export := func() error {
		return w.Export(w.Ctx, call("AuditExport"), audit.Filter{}, auditing.Azure, func([]archive.Missing) io.Writer {
			s.broken = errors.New("the disk is gone")
			return io.Discard
		})
	}
	if err := export(); !errors.Is(err, s.broken) {
		t.Errorf("the export ended with %v", err)
	}
}

// Who keeps a checkpoint finds out when it is not this log's.
func TestVerifyComparesWithAKeptCheckpoint(t *testing.T) {
	w := newWorld(t, nil)
	w.Home.MakeVault("box")
	auditor := w.auditor(w.Home)
	w.work(w.Home, "box", "one")
	_, err := w.Verify(w.Ctx, auditor.Call("AuditVerify"), nil) // signs a checkpoint
	w.Must(err)
	kept, err := w.Checkpoint(w.Ctx, auditor.Call("AuditCheckpoint"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("the checkpoint is %q: %v", kept, err)
	}
	w.work(w.Home, "box", "two")
	if report, err := w.Verify(w.Ctx, auditor.Call("AuditVerify"), kept); err != nil || len(report) != 1 || !report[0].OK() {
		t.Errorf("with its own checkpoint of before: %v, %+v", err, report)
	}
	second := newWorld(t, nil)
	second.Home.MakeVault("box")
	second.work(second.Home, "box", "one")
	other := second.auditor(second.Home)
	_, err = second.Verify(second.Ctx, other.Call("AuditVerify"), nil)
	w.Must(err)
	stranger, err := second.Checkpoint(second.Ctx, other.Call("AuditCheckpoint"))
	w.Must(err)
	if report, err := w.Verify(w.Ctx, auditor.Call("AuditVerify"), stranger); err == nil && report[0].OK() {
		t.Error("the checkpoint of another log was believed")
	}
}
