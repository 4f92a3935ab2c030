package rotation_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/vault"
)

func (e *estate) refused(what string, err error, kind fault.Kind, reason fault.Reason) {
	e.T.Helper()
	if !fault.Is(err, kind) || fault.As(err).Reason != reason {
		e.T.Errorf("%s: %v (%v); want %v with reason %q", what, err, fault.Of(err), kind, reason)
	}
}

// Nobody but a change writes the bundle, its policy, or the next version of its authority.
func TestTrustBundleIsKept(t *testing.T) {
	e := newEstate(t)
	e.build(&rotation.Policy{})
	_, err := e.secrets.Set(e.Ctx, e.call(), "root-trust", secret.Input{Value: []byte("x"), Enabled: true})
	e.refused("another write", err, fault.Forbidden, "TrustBundle")
	other := rotation.Policy{Strategy: rotator.Manual, Format: rotation.Format{Kind: rotation.Raw}, Manual: &rotation.Manual{Assignee: "x"}}
	e.refused("another policy", e.service().SetPolicy(e.Ctx, e.call(), "root-trust", &other), fault.Conflict, "TrustBundle")
	e.refused("no policy", e.service().DeletePolicy(e.Ctx, e.call(), "root-trust"), fault.Conflict, "TrustBundle")
	_, _, err = e.certs.Create(e.Ctx, e.call(), "root", cert.Input{})
	e.refused("a successor", err, fault.Conflict, cert.UnderChange)
	_, err = e.service().PublishTrust(e.Ctx, e.call(), "root", "another", &rotation.Policy{})
	e.refused("a second bundle", err, fault.Conflict, "")
	_, err = e.secrets.Set(e.Ctx, e.call(), "taken", secret.Input{Value: []byte("x"), Enabled: true})
	must(t, err)
	_, err = e.service().PublishTrust(e.Ctx, e.call(), "issuing", "taken", &rotation.Policy{})
	e.refused("a bundle in the place of a secret", err, fault.Conflict, "")
	_, err = e.service().PublishTrust(e.Ctx, e.call(), "web-1", "", &rotation.Policy{})
	e.refused("the bundle of a leaf", err, fault.Invalid, "")
	_, err = e.service().PublishTrust(e.Ctx, e.call(), "nobody", "", &rotation.Policy{})
	e.refused("the bundle of nothing", err, fault.NotFound, "CertificateNotFound")
	_, err = e.service().ChangeAuthority(e.Ctx, e.call(), "issuing", onDemand)
	e.refused("a change without a bundle", err, fault.NotFound, rotation.NoBundle)
	wrong := rotation.Policy{Deadline: d(1), Overdue: rotation.Overdue{Then: rotation.DisableThenDelete}}
	_, err = e.service().PublishTrust(e.Ctx, e.call(), "root", "", &wrong)
	e.refused("a deadline that disables", err, fault.Invalid, "PolicyInvalid")

	// The bundle that was deleted keeps nobody from anything.
	_, err = e.secrets.Delete(e.Ctx, e.call(), "root-trust")
	must(t, err)
	_, _, err = e.certs.Create(e.Ctx, e.call(), "root", cert.Input{})
	must(t, err)
}

// A bundle that nobody has read proves nothing: the change waits, and says so.
func TestAuthorityWaitsForReaders(t *testing.T) {
	e := newEstate(t)
	e.build(&rotation.Policy{})
	e.unread = true
	h, err := e.service().PlanAuthority(e.Ctx, e.call(), "root")
	must(t, err)
	if h.Safe || h.Reason != rotation.NobodyReads {
		t.Errorf("the plan is %+v", h)
	}
	id := e.change(onDemand).ID
	must(t, e.engine.Drive(e.Ctx, id))
	if r := e.run(id); r.State != rotation.Surveying || r.Reason != rotation.NobodyReads {
		t.Errorf("it stands at %s (%s)", r.State, r.Reason)
	}
	e.mu.Lock()
	e.unread = false
	e.mu.Unlock()
	if r, err := e.drive(id, e.engine, func(*rotation.Run) *rotation.Engine { return nil }); err != nil || r.State != rotation.Done {
		t.Errorf("with a reader it ends as %v (%v)", r.State, err)
	}
}

// The plan tells who gets a successor, what is made anew and who would have to move, and changes nothing.
func TestAuthorityPlan(t *testing.T) {
	e := newEstate(t)
	e.build(&rotation.Policy{Grace: d(1)})
	before := e.versions()
	h, err := e.service().PlanAuthority(e.Ctx, e.call(), "root")
	must(t, err)
	var line []string
	for _, a := range h.Authorities {
		line = append(line, a.Name)
	}
	if !h.Safe || !slices.Equal(line, []string{"root", "issuing"}) || !slices.Equal(h.Certificates, []string{"direct", "web-1", "web-2"}) || !slices.Equal(h.Bundles, []string{"root-trust"}) || h.Length == 0 {
		t.Errorf("the plan is %+v", h)
	}
	if len(h.AtRisk) != len(e.clients)+len(e.servers) {
		t.Errorf("at risk are %v", h.AtRisk)
	}
	for name, v := range e.versions() {
		if v != before[name] {
			t.Errorf("%s has another version", name)
		}
	}
}

// An authority below the one that changes has a bundle of its own: that is published and waited for, too. A change of its own waits for the end of the other.
func TestAuthorityWithBundleBelow(t *testing.T) {
	e := newEstate(t)
	e.build(&rotation.Policy{})
	_, err := e.service().PublishTrust(e.Ctx, e.call(), "issuing", "", &rotation.Policy{})
	must(t, err)
	for i, bundle := range []string{"issuing-trust", "issuing-trust"} {
		e.clients = append(e.clients, &trusting{name: "below-" + string(rune('a'+i)), bundle: bundle})
	}
	// Those who trust the intermediate alone meet only servers below it.
	e.servers = e.servers[:2]
	for e.refreshOne() {
	}
	before := e.versions()
	id := e.change(onDemand).ID
	must(t, e.engine.Drive(e.Ctx, id))
	second, err := e.service().ChangeAuthority(e.Ctx, e.call(), "issuing", onDemand)
	must(t, err)
	must(t, e.engine.Drive(e.Ctx, second.ID))
	if first, r := e.run(id), e.run(second.ID); first.Open() && (r.State != rotation.Surveying || r.Reason != rotation.AuthorityBusy) {
		t.Errorf("the second change stands at %s (%s)", r.State, r.Reason)
	}
	nobody := func(*rotation.Run) *rotation.Engine { return nil }
	r, err := e.drive(id, e.engine, nobody)
	must(t, err)
	if r.State != rotation.Done {
		t.Errorf("it ended as %s (%s)", r.State, r.Reason)
	}
	if r, err = e.drive(second.ID, e.engine, nobody); err != nil || r.State != rotation.Done {
		t.Errorf("the second ended as %v (%v)", r.State, err)
	}
	for e.refreshOne() {
	}
	e.handshakes("at the end")
	if now := e.versions(); now["root"] == before["root"] || now["issuing"] == before["issuing"] || len(e.broken) > 0 {
		t.Errorf("from %v to %v: %v", before, now, e.broken)
	}
	_, ver := e.current(vault.Secret, "issuing-trust")
	o, _ := e.current(vault.Secret, "issuing-trust")
	_, value, err := e.secrets.Rotation(e.Vault, o.Name, o.ID).Open(e.Ctx, ver.ID)
	must(t, err)
	if n := strings.Count(string(value), "BEGIN CERTIFICATE"); n != 2 {
		t.Errorf("the bundle of the intermediate has %d certificates, want it and its root", n)
	}
}

// What the authority signed for others than the vault holds the change, until it is taken back.
func TestAuthorityWaitsForOthers(t *testing.T) {
	e := newEstate(t)
	e.build(&rotation.Policy{})
	e.create("lost", cert.IssuerRef{Name: "signs-issuing"})
	_, ver := e.current(vault.Certificate, "lost")
	f, err := cert.Describe(ver)
	must(t, err)
	leaf, err := f.Certificate()
	must(t, err)
	by, err := e.certs.Authority(e.Ctx, e.Vault, "issuing", "")
	must(t, err)
	if _, _, err := e.certs.Delete(e.Ctx, e.call(), "lost"); err != nil {
		t.Fatal(err)
	}
	id := e.change(onDemand).ID
	revoked := false
	r, err := e.drive(id, e.engine, func(r *rotation.Run) *rotation.Engine {
		if r.State == rotation.Deploying && len(r.Waiting) == 1 && strings.Contains(r.Waiting[0].Principal, "CN=lost") && !revoked {
			revoked = true
			ca := e.authorityOf(by)
			must(t, ca.(issuer.Revoker).Revoke(e.Ctx, leaf, issuer.Superseded))
		}
		return nil
	})
	if err != nil || r.State != rotation.Done || !revoked {
		t.Errorf("it ended as %v, waited for the certificate: %v (%v)", r.State, revoked, err)
	}
}
