package authz

import (
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
)

// What the built-in roles of a Managed HSM allow in a vault, and what they must not.
func TestWhatLocalRolesAllow(t *testing.T) {
	for _, c := range []struct {
		role       string
		can, canno []Action
	}{
		{LocalAdministrator, []Action{RoleAssignmentWrite, RoleDefinitionDelete, KeyBackup, SecretBackup, CertificateRestore}, []Action{KeyGet, KeySign, SecretGet, KeyPurge, VaultWrite}},
		{LocalCryptoOfficer, []Action{KeyPurge, KeyRecover, RoleAssignmentDelete}, []Action{KeyGet, KeySign, KeyCreate, KeyDelete}},
		{LocalCryptoUser, []Action{KeySign, KeyDecrypt, KeyCreate, KeyDelete, KeyRandom, KeyVerifyPublic}, []Action{KeyPurge, KeyRecover, RoleAssignmentWrite, SecretGet}},
		{LocalPolicyAdministrator, []Action{RoleAssignmentWrite, RoleDefinitionRead}, []Action{RoleDefinitionWrite, KeyGet}},
		{LocalCryptoAuditor, []Action{KeyGet, KeyList}, []Action{KeySign, KeyEncryptPublic, KeyUpdate}},
		{LocalCryptoServiceEncryption, []Action{KeyWrap, KeyUnwrap, KeyGet}, []Action{KeyDecrypt, KeyEncrypt}},
		{LocalCryptoServiceRelease, []Action{KeyRelease}, []Action{KeyGet}},
		{LocalBackup, []Action{KeyBackup, SecretBackup}, []Action{KeyRestore, KeyGet, SecretGet}},
		{LocalRestore, []Action{KeyRestore, CertificateRestore}, []Action{KeyBackup}},
	} {
		r, ok := BuiltinRole(c.role)
		if !ok {
			t.Fatalf("no role %s", c.role)
		}
		for _, a := range c.can {
			if !Allows(r).Has(a) {
				t.Errorf("%s does not allow %s", r.Name, a)
			}
		}
		for _, a := range c.canno {
			if Allows(r).Has(a) {
				t.Errorf("%s allows %s", r.Name, a)
			}
		}
		for scope, fine := range map[string]bool{"/": false, "/subscriptions/" + sub1: false, "/subscriptions/" + sub1 + "/resourceGroups/dev": false, vaultID: true, vaultID + "/keys/a": true} {
			at, err := ParseScope(scope)
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckAssignable(r, at); (err == nil) != fine || err != nil && !fault.Is(err, fault.Invalid) {
				t.Errorf("%s at %s: %v", r.Name, scope, err)
			}
		}
	}
}

// The names of a Managed HSM mean something only where they are written out, and exceptions count in either names.
func TestLocalNames(t *testing.T) {
	const hsm = "Microsoft.KeyVault/managedHsm/"
	for _, c := range []struct {
		allow, except []string
		can, canno    []Action
	}{
		{[]string{hsm + "keys/sign/action"}, nil, []Action{KeySign}, []Action{KeyGet, KeyVerify}},
		{[]string{hsm + "keys/*"}, []string{hsm + "keys/deletedKeys/*"}, []Action{KeySign, KeyGet}, []Action{KeyPurge, SecretGet}},
		{[]string{"*"}, []string{hsm + "keys/decrypt/action"}, []Action{KeySign, SecretGet}, []Action{KeyDecrypt}},
		{[]string{hsm + "*"}, []string{"Microsoft.KeyVault/vaults/keys/purge/action"}, []Action{KeySign}, []Action{KeyPurge}},
		{[]string{"*/action"}, nil, []Action{KeySign}, []Action{KeyGet, RoleAssignmentWrite}},
		{[]string{"*/keys/read/action"}, nil, nil, []Action{KeyGet}},
		{[]string{hsm + "securitydomain/download/read"}, nil, nil, []Action{KeyGet}},
	} {
		r := &principal.Role{ID: customRole, Name: "r", AssignableScopes: []string{vaultID}, Permissions: []principal.Permission{{DataActions: c.allow, NotDataActions: c.except}}}
		for _, a := range c.can {
			if !Allows(r).Has(a) {
				t.Errorf("%v less %v does not allow %s", c.allow, c.except, a)
			}
		}
		for _, a := range c.canno {
			if Allows(r).Has(a) {
				t.Errorf("%v less %v allows %s", c.allow, c.except, a)
			}
		}
	}
	wrong := &principal.Role{ID: customRole, Name: "r", AssignableScopes: []string{vaultID}, Permissions: []principal.Permission{{DataActions: []string{hsm + "keys/fly/action"}}}}
	if err := CheckRole(wrong); !fault.Is(err, fault.Invalid) {
		t.Errorf("a name that is none: %v", err)
	}
	wrong.Permissions[0] = principal.Permission{Actions: []string{hsm + "keys/sign/action"}}
	if err := CheckRole(wrong); !fault.Is(err, fault.Invalid) {
		t.Errorf("a data action among actions: %v", err)
	}
	wrong.Permissions[0] = principal.Permission{DataActions: []string{hsm + "keys/sign/action", hsm + "securitydomain/*"}}
	if err := CheckRole(wrong); err != nil {
		t.Error(err)
	}
}
