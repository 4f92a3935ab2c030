package authz

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

func TestRefusals(t *testing.T) {
	const who = "appid=app;oid=" + "bbbbbbbb-0000-4000-8000-000000000001" + ";iss=https://sts.windows.net/t/"
	cases := []struct {
		name   string
		change func(*Facts, *Request)
		reason fault.Reason
		want   string
	}{
		{"roles", func(_ *Facts, r *Request) { r.Name = "DB2" }, ForbiddenByRbac,
			"Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, " +
				"please observe propagation time.\r\nCaller: " + who + "\r\nAction: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\nResource: '" +
				strings.ToLower(vaultID) + "/secrets/db2'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\nVault: demo;location=local\r\n"},
		{"policies", func(f *Facts, _ *Request) { f.Vault.Access = vault.AccessByPolicy }, ForbiddenByPolicy,
			"The user, group or application '" + who + "' does not have secrets get permission on key vault 'demo;location=local'. " +
				"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287"},
		{"policies for keys", func(f *Facts, r *Request) {
			f.Vault.Access, r.Action, r.Kind = vault.AccessByPolicy, KeyUnwrap, vault.Key
		}, ForbiddenByPolicy, "The user, group or application '" + who + "' does not have keys unwrapKey permission on key vault 'demo;location=local'. " +
			"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287"},
		{"the firewall", func(f *Facts, r *Request) {
			f.Vault.Network.DefaultAllow, r.Address = false, netip.MustParseAddr("::ffff:203.0.113.7")
		}, ForbiddenByFirewall, "Client address is not authorized and caller is not a trusted service.\r\nClient address: 203.0.113.7\r\nCaller: " + who +
			"\r\nVault: demo;location=local"},
		{"no public access", func(f *Facts, r *Request) {
			f.Vault.Network.PublicAccess, r.Address = false, netip.MustParseAddr("203.0.113.7")
		}, ForbiddenByConnection, "Public network access is disabled and request is not from a trusted service nor via an approved private link.\r\nCaller: " + who +
			"\r\nVault: demo;location=local"},
		{"the control plane", func(_ *Facts, r *Request) { r.Action, r.Kind, r.Name = VaultWrite, "", "" }, AuthorizationFailed,
			"The client 'app' with object id 'bbbbbbbb-0000-4000-8000-000000000001' does not have authorization to perform action " +
				"'Microsoft.KeyVault/vaults/write' over scope '" + vaultID + "' or the scope is invalid. If access was recently granted, please refresh your credentials."},
		{"another tenant", func(_ *Facts, r *Request) { r.Caller.Tenant = tenants[1] }, ForbiddenByRbac,
			"Caller is not authorized to perform action on resource.\r\nCaller: " + who + "\r\nAction: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\n"},
	}
	for _, c := range cases {
		f, r := story()
		r.Caller.AppID, r.Caller.Issuer = "app", "https://sts.windows.net/t/"
		c.change(&f, &r)
		err := fault.As(Refusal(r, Decide(r, Compile(f), epoch), f.Vault))
		if err == nil || err.Kind != fault.Forbidden || err.Reason != c.reason || err.Message != c.want {
			t.Errorf("%s: %+v\nwant %s %q", c.name, err, c.reason, c.want)
		}
	}
	f, r := story()
	if err := Refusal(r, Decide(r, Compile(f), epoch), f.Vault); err != nil {
		t.Errorf("an allowed request is refused: %v", err)
	}
	r.Caller.AppID, r.Caller.Issuer = "", ""
	if got := r.Caller.String(); got != "oid="+string(people[0]) {
		t.Errorf("caller = %q", got)
	}
}
