package arm_test

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"

	"github.com/keywright/keywright/internal/tenancy"
)

// The management SDK makes keys, sees their versions, and neither changes nor uses them.
func TestKeysSDK(t *testing.T) {
	w := newWorld(t)
	w.Home.MakeVault("keys")
	f, err := armkeyvault.NewClientFactory(string(w.Home.Subscription), credential{w.Home.Owner}, w.options())
	w.Must(err)
	keys := f.NewKeysClient()
	in := armkeyvault.KeyCreateParameters{Tags: map[string]*string{"a": to.Ptr("b")}, Properties: &armkeyvault.KeyProperties{Kty: to.Ptr(armkeyvault.JSONWebKeyTypeEC),
		CurveName: to.Ptr(armkeyvault.JSONWebKeyCurveNameP384), Attributes: &armkeyvault.KeyAttributes{Enabled: to.Ptr(true), Expires: to.Ptr(int64(1893456000))},
		KeyOps: []*armkeyvault.JSONWebKeyOperation{to.Ptr(armkeyvault.JSONWebKeyOperationSign)},
		RotationPolicy: &armkeyvault.RotationPolicy{Attributes: &armkeyvault.KeyRotationPolicyAttributes{ExpiryTime: to.Ptr("P2Y")},
			LifetimeActions: []*armkeyvault.LifetimeAction{{Action: &armkeyvault.Action{Type: to.Ptr(armkeyvault.KeyRotationPolicyActionTypeRotate)},
				Trigger: &armkeyvault.Trigger{TimeBeforeExpiry: to.Ptr("P30D")}}}}}}
	made, err := keys.CreateIfNotExist(w.Ctx, "dev", "keys", "Signer", in, nil)
	w.Must(err)
	p := made.Properties
	if *p.Kty != armkeyvault.JSONWebKeyTypeEC || *p.CurveName != armkeyvault.JSONWebKeyCurveNameP384 || len(p.KeyOps) != 1 || *p.Attributes.Expires != 1893456000 ||
		*p.RotationPolicy.Attributes.ExpiryTime != "P2Y" || *p.RotationPolicy.LifetimeActions[0].Trigger.TimeBeforeExpiry != "P30D" || *made.Tags["a"] != "b" ||
		*p.KeyURI != "https://keys.vault.test/keys/Signer" || *made.ID != w.vault("keys")+"/keys/Signer" || *made.Type != "Microsoft.KeyVault/vaults/keys" {
		t.Errorf("made %+v", p)
	}
	// Made again, it is the same: neither changed nor given a version.
	in.Properties.Kty = to.Ptr(armkeyvault.JSONWebKeyTypeRSA)
	again, err := keys.CreateIfNotExist(w.Ctx, "dev", "keys", "signer", in, nil)
	w.Must(err)
	if *again.Properties.KeyURIWithVersion != *p.KeyURIWithVersion || *again.Properties.Kty != armkeyvault.JSONWebKeyTypeEC {
		t.Errorf("made again %+v", again.Properties)
	}
	got, err := keys.Get(w.Ctx, "dev", "keys", "Signer", nil)
	w.Must(err)
	if *got.Properties.KeyURIWithVersion != *p.KeyURIWithVersion {
		t.Errorf("got %+v", got.Properties)
	}
	version := (*p.KeyURIWithVersion)[len(*p.KeyURI)+1:]
	one, err := keys.GetVersion(w.Ctx, "dev", "keys", "Signer", version, nil)
	w.Must(err)
	if *one.Name != version || *one.Type != "Microsoft.KeyVault/vaults/keys/versions" || *one.ID != *made.ID+"/versions/"+version {
		t.Errorf("the version is %+v", one)
	}
	listed, err := keys.NewListPager("dev", "keys", nil).NextPage(w.Ctx)
	w.Must(err)
	versions, err := keys.NewListVersionsPager("dev", "keys", "Signer", nil).NextPage(w.Ctx)
	w.Must(err)
	if len(listed.Value) != 1 || *listed.Value[0].Name != "Signer" || len(versions.Value) != 1 || *versions.Value[0].Name != version {
		t.Errorf("listed %v, %v", listed.Value, versions.Value)
	}
	w.want(w.do(w.Home.Owner, "GET", w.vault("keys")+"/keys/absent", ""), 404, "KeyNotFound")
	w.want(w.do(w.Home.Owner, "PUT", w.vault("keys")+"/keys/wrong", `{"properties":{}}`), 400, "BadRequest")
}

// A vault can take its keys from the management plane.
func TestKeysAreNotManaged(t *testing.T) {
	w := newWorld(t)
	w.Home.MakeVault("own")
	_, err := w.Tenancy.PatchVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("own"), tenancy.VaultSpec{KeysNotManaged: to.Ptr(true)})
	w.Must(err)
	for _, path := range []string{"/keys", "/keys/one", "/keys/one/versions"} {
		w.want(w.do(w.Home.Owner, "GET", w.vault("own")+path, ""), 403, "KeyManagementThroughARMDisabled")
		w.want(w.do(w.Home.Person("nobody"), "GET", w.vault("own")+path, ""), 403, "AuthorizationFailed")
	}
	w.want(w.do(w.Home.Owner, "PUT", w.vault("own")+"/keys/one", `{"properties":{"kty":"EC"}}`), 403, "KeyManagementThroughARMDisabled")
}

// A deployment changes a secret's attributes without saying its value, and its value without losing the rest.
func TestUpdatesSecrets(t *testing.T) {
	w := newWorld(t)
	w.Home.MakeVault("secrets")
	f, err := armkeyvault.NewClientFactory(string(w.Home.Subscription), credential{w.Home.Owner}, w.options())
	w.Must(err)
	secrets := f.NewSecretsClient()
	made, err := secrets.CreateOrUpdate(w.Ctx, "dev", "secrets", "one", armkeyvault.SecretCreateOrUpdateParameters{Tags: map[string]*string{"a": to.Ptr("b")},
		Properties: &armkeyvault.SecretProperties{Value: to.Ptr("first"), ContentType: to.Ptr("text/plain")}}, nil)
	w.Must(err)
	off, err := secrets.Update(w.Ctx, "dev", "secrets", "one", armkeyvault.SecretPatchParameters{Properties: &armkeyvault.SecretPatchProperties{
		Attributes: &armkeyvault.SecretAttributes{Enabled: to.Ptr(false)}}}, nil)
	w.Must(err)
	if *off.Properties.SecretURIWithVersion != *made.Properties.SecretURIWithVersion || *off.Properties.Attributes.Enabled || *off.Tags["a"] != "b" {
		t.Errorf("changed to %+v", off.Properties)
	}
	next, err := secrets.Update(w.Ctx, "dev", "secrets", "one", armkeyvault.SecretPatchParameters{Properties: &armkeyvault.SecretPatchProperties{Value: to.Ptr("")}}, nil)
	w.Must(err)
	if *next.Properties.SecretURIWithVersion == *made.Properties.SecretURIWithVersion || *next.Properties.ContentType != "text/plain" || *next.Tags["a"] != "b" {
		t.Errorf("changed to %+v", next.Properties)
	}
	w.want(w.do(w.Home.Owner, "PATCH", w.vault("secrets")+"/secrets/absent", `{"tags":{}}`), 404, "SecretNotFound")
}
