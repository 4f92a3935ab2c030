package tenancy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/tenancy/tenancytest"
	"github.com/keywright/keywright/internal/vault"
)

const day = 24 * time.Hour

// customer is a tenant with a vault "billing", whose data a key "root" of the vault "keys" is to protect.
type customer struct {
	*tenancytest.World
	home *tenancytest.Tenant
	boss *tenancytest.Person
}

func newCustomer(t *testing.T) *customer {
	w := tenancytest.New(t)
	c := &customer{World: w, home: w.Home, boss: w.Home.Owner}
	c.home.MakeVault("billing")
	c.home.MakeVault("keys")
	c.home.Grant(c.boss, authz.VaultAdministrator, "/")
	c.makeKey("keys", "root", key.Spec{Kty: "RSA"})
	return c
}

// in is a call of the owner in a vault.
func (c *customer) in(name string) *guard.Call {
	c.TB.Helper()
	call := c.boss.Call("Test")
	view, err := c.Guard.View(c.Ctx, name)
	c.Must(err)
	call.Vault = view
	return call
}

func (c *customer) makeKey(in, name string, spec key.Spec) key.Item {
	c.TB.Helper()
	item, err := c.CryptoKeys.Create(c.Ctx, c.in(in), name, spec, key.Input{Enabled: true})
	c.Must(err)
	return item
}

func (c *customer) set(name, value string) {
	c.TB.Helper()
	_, err := c.Secrets.Set(c.Ctx, c.in("billing"), name, secret.Input{Value: []byte(value), Enabled: true})
	c.Must(err)
}

func (c *customer) get(name string) (string, error) {
	c.TB.Helper()
	_, value, err := c.Secrets.Get(c.Ctx, c.in("billing"), secret.Selector{Name: name}, nil)
	return string(value), err
}

// opens checks that the secret can be read.
func (c *customer) opens(name, want string) {
	c.TB.Helper()
	if got, err := c.get(name); err != nil || got != want {
		c.TB.Errorf("the secret %s is %q, %v", name, got, err)
	}
}

// closed checks that nothing of the vault opens, and that the error names the key and says what is wrong with it.
func (c *customer) closed(because string) {
	c.TB.Helper()
	for what, try := range map[string]func() error{
		"get": func() error { _, err := c.get("password"); return err },
		"set": func() error {
			_, err := c.Secrets.Set(c.Ctx, c.in("billing"), "other", secret.Input{Value: []byte("x"), Enabled: true})
			return err
		},
		"backup": func() error { _, err := c.Secrets.Backup(c.Ctx, c.in("billing"), "password"); return err },
	} {
		err := try()
		e := fault.As(err)
		if e == nil || e.Kind != fault.Forbidden || e.Reason != key.CustomerKeyUnavailable {
			c.TB.Errorf("%s: %v", what, err)
			continue
		}
		for _, want := range []string{`"billing"`, `"root"`, `"keys"`, because} {
			if !strings.Contains(e.Message, want) {
				c.TB.Errorf("%s does not say %s: %s", what, want, e.Message)
			}
		}
	}
	state, err := c.Tenancy.Encryption(c.Ctx, c.boss.Call(""), c.home.Vault("billing"))
	c.Must(err)
	if !strings.Contains(state.Problem, because) {
		c.TB.Errorf("the vault shows the problem %q", state.Problem)
	}
}

func (c *customer) encrypt(name string, spec tenancy.EncryptionSpec) error {
	_, err := c.Tenancy.Encrypt(c.Ctx, c.boss.Call("VaultEncryptionSet"), c.home.Vault(name), spec)
	return err
}

var root = tenancy.EncryptionSpec{Vault: "keys", Key: "root"}

func (c *customer) enable(version vault.VersionID, enabled bool) {
	c.TB.Helper()
	_, err := c.CryptoKeys.Update(c.Ctx, c.in("keys"), key.Selector{Name: "root", Version: version}, key.Change{Enabled: &enabled})
	c.Must(err)
}

func (c *customer) wrapped() []vault.VersionID {
	c.TB.Helper()
	state, err := c.Tenancy.Encryption(c.Ctx, c.boss.Call(""), c.home.Vault("billing"))
	c.Must(err)
	return state.Wrapped
}

func TestACustomersKeyProtectsAVault(t *testing.T) {
	c := newCustomer(t)
	c.set("password", "before")
	c.Must(c.encrypt("billing", root))
	if r := c.Audit.Records(authz.VaultWrite); r[len(r)-1].VaultName != "billing" || r[len(r)-1].Detail != "customer's key root of vault keys" {
		t.Errorf("the change is recorded as %+v", r[len(r)-1])
	}
	c.opens("password", "before")
	c.set("later", "after")
	c.opens("later", "after")
	if uses := c.Audit.Records(authz.KeyUnwrap); len(uses) == 0 || uses[0].VaultName != "keys" || uses[0].ObjectName != "root" || !strings.Contains(uses[0].Detail, "billing") {
		t.Errorf("the uses of the key are not recorded at it: %+v", uses)
	}
	c.enable("", false)
	c.closed("disabled")
	if r := c.Audit.Records(authz.SecretGet); r[len(r)-1].Outcome != audit.Failed || r[len(r)-1].Reason != string(key.CustomerKeyUnavailable) {
		t.Errorf("a read of a closed vault is recorded as %+v", r[len(r)-1])
	}
	c.enable("", true)
	c.opens("password", "before")

	_, err := c.CryptoKeys.Delete(c.Ctx, c.in("keys"), "root")
	c.Must(err)
	c.closed("recover the key")
	_, err = c.CryptoKeys.Recover(c.Ctx, c.in("keys"), "root")
	c.Must(err)
	c.opens("password", "before")

	c.Must(c.Tenancy.DeleteVault(c.Ctx, c.boss.Call(""), c.home.Vault("keys")))
	c.closed("recover the vault")
	_, err = c.Tenancy.RecoverVault(c.Ctx, c.boss.Call(""), c.home.Vault("keys"))
	c.Must(err)
	c.opens("password", "before")

	_, err = c.Tenancy.RemoveEncryption(c.Ctx, c.boss.Call(""), c.home.Vault("billing"))
	c.Must(err)
	c.enable("", false)
	c.opens("password", "before")
	c.opens("later", "after")
	_, err = c.Tenancy.Rewrap(c.Ctx, c.boss.Call(""), c.home.Vault("billing"))
	c.Reason(err, "NoCustomerKey")
}

// A rotation of the customer's key is followed, by hand and by the maintenance, and what was sealed under older versions still opens: values, and backups.
func TestARotatedCustomersKey(t *testing.T) {
	c := newCustomer(t)
	c.set("password", "before")
	c.Must(c.encrypt("billing", root))
	var backups [][]byte
	var versions []vault.VersionID
	for range 3 {
		blob, err := c.Secrets.Backup(c.Ctx, c.in("billing"), "password")
		c.Must(err)
		backups = append(backups, blob)
		versions = append(versions, c.wrapped()...)
		c.Clock.Advance(8 * day)
		_, err = c.CryptoKeys.Rotate(c.Ctx, c.in("keys"), "root")
		c.Must(err)
		c.opens("password", "before")
		if len(backups) == 2 {
			_, err = c.Keys.Maintain(c.Ctx)
		} else {
			_, err = c.Tenancy.Rewrap(c.Ctx, c.boss.Call(""), c.home.Vault("billing"))
		}
		c.Must(err)
		if now := c.wrapped(); len(now) != 1 || now[0] == versions[len(versions)-1] {
			t.Fatalf("after a rotation the vault is wrapped with %v", now)
		}
		c.opens("password", "before")
	}
	// The old versions are not needed for values any more.
	for _, v := range versions[1:] {
		c.enable(v, false)
	}
	c.Keys.Flush()
	c.opens("password", "before")
	_, err := c.Secrets.Delete(c.Ctx, c.in("billing"), "password")
	c.Must(err)
	c.Must(c.Secrets.Purge(c.Ctx, c.in("billing"), "password"))
	for i, blob := range backups {
		_, err := c.Secrets.Restore(c.Ctx, c.in("billing"), blob)
		if i > 0 { // their version is disabled
			c.Reason(err, key.CustomerKeyUnavailable)
			c.enable(versions[i], true)
			_, err = c.Secrets.Restore(c.Ctx, c.in("billing"), blob)
		}
		c.Must(err)
		c.opens("password", "before")
		_, err = c.Secrets.Delete(c.Ctx, c.in("billing"), "password")
		c.Must(err)
		c.Must(c.Secrets.Purge(c.Ctx, c.in("billing"), "password"))
	}
}

// purge deletes the key and tries to purge it.
func (c *customer) purge() error {
	c.TB.Helper()
	if _, err := c.CryptoKeys.Delete(c.Ctx, c.in("keys"), "root"); err != nil && !fault.Is(err, fault.NotFound) {
		c.TB.Fatal(err)
	}
	return c.CryptoKeys.Purge(c.Ctx, c.in("keys"), "root")
}

func (c *customer) says(err error, words ...string) {
	c.TB.Helper()
	c.Reason(err, key.KeyNeeded)
	for _, w := range words {
		if !strings.Contains(fault.As(err).Message, w) {
			c.TB.Errorf("the refusal does not say %q: %v", w, err)
		}
	}
}

// A key that somebody needs is destroyed neither by a person nor by the end of its retention, nor with its vault; and who needs it is said.
func TestANeededKeyIsNotPurged(t *testing.T) {
	c := newCustomer(t)
	c.set("password", "value")
	spec := root
	spec.BackupDays = 700
	c.Must(c.encrypt("billing", spec))
	c.says(c.purge(), `"root"`, `the vault "billing", which is encrypted with it`)
	_, err := c.CryptoKeys.Recover(c.Ctx, c.in("keys"), "root")
	c.Must(err)
	blob, err := c.Secrets.Backup(c.Ctx, c.in("billing"), "password")
	c.Must(err)
	_, err = c.Tenancy.RemoveEncryption(c.Ctx, c.boss.Call(""), c.home.Vault("billing"))
	c.Must(err)
	c.says(c.purge(), `backups of the vault "billing"`, "2028-10-")

	// Nor does its vault go.
	c.Must(c.Tenancy.DeleteVault(c.Ctx, c.boss.Call(""), c.home.Vault("keys")))
	c.says(c.Tenancy.PurgeVault(c.Ctx, c.boss.Call(""), c.home.Subscription, tenancytest.Location, "keys"), `"keys"`, `"billing"`)
	for range 5 { // a year and more, in which retentions end
		c.Clock.Advance(91 * day)
		swept, err := c.Tenancy.Sweep(c.Ctx)
		c.Must(err)
		if swept != (tenancy.Swept{}) {
			t.Fatalf("swept %+v", swept)
		}
	}
	_, err = c.Tenancy.RecoverVault(c.Ctx, c.boss.Call(""), c.home.Vault("keys"))
	c.Must(err)
	_, err = c.CryptoKeys.Recover(c.Ctx, c.in("keys"), "root")
	c.Must(err)
	_, err = c.Secrets.Delete(c.Ctx, c.in("billing"), "password")
	c.Must(err)
	c.Must(c.Secrets.Purge(c.Ctx, c.in("billing"), "password"))
	_, err = c.Secrets.Restore(c.Ctx, c.in("billing"), blob)
	c.Must(err)
	c.opens("password", "value")

	// Once the backups are over, nothing keeps it.
	c.says(c.purge(), `backups of the vault "billing"`)
	c.Clock.Advance(400 * day)
	if swept, err := c.Tenancy.Sweep(c.Ctx); err != nil || swept.Objects != 1 {
		t.Errorf("swept %+v, %v", swept, err)
	}
	if _, err := c.CryptoKeys.Get(c.Ctx, c.in("keys"), key.Selector{Name: "root"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("the key is there: %v", err)
	}
}

// Purging the protected vault frees the key, but not before its backups' end.
func TestAPurgedVaultNeedsNoKey(t *testing.T) {
	c := newCustomer(t)
	c.Must(c.encrypt("billing", root))
	c.Must(c.Tenancy.DeleteVault(c.Ctx, c.boss.Call(""), c.home.Vault("billing")))
	c.says(c.purge(), `"billing"`)
	c.Must(c.Tenancy.PurgeVault(c.Ctx, c.boss.Call(""), c.home.Subscription, tenancytest.Location, "billing"))
	c.Must(c.purge())
}

func TestVaultsDoNotProtectEachOther(t *testing.T) {
	c := newCustomer(t)
	c.makeKey("billing", "own", key.Spec{Kty: "oct", Bits: 256})
	own := tenancy.EncryptionSpec{Vault: "billing", Key: "own"}
	c.Reason(c.encrypt("billing", own), "CustomerKeyCycle")
	c.Must(c.encrypt("billing", root))
	c.Reason(c.encrypt("keys", own), "CustomerKeyCycle")
	c.home.MakeVault("third")
	c.makeKey("third", "top", key.Spec{Kty: "RSA"})
	c.Must(c.encrypt("keys", tenancy.EncryptionSpec{Vault: "third", Key: "top"}))
	c.Reason(c.encrypt("third", own), "CustomerKeyCycle")
	c.set("password", "x")
	c.opens("password", "x")
	// The chain closes as a whole.
	_, err := c.CryptoKeys.Delete(c.Ctx, c.in("third"), "top")
	c.Must(err)
	if _, err := c.get("password"); fault.As(err) == nil || fault.As(err).Reason != key.CustomerKeyUnavailable || !strings.Contains(fault.As(err).Message, `"top"`) {
		c.Keys.Flush()
		_, err = c.get("password")
		t.Errorf("with the last key of the chain gone: %v", err)
	}
	_, err = c.CryptoKeys.Recover(c.Ctx, c.in("third"), "top")
	c.Must(err)
	c.opens("password", "x")

	// A row has an end, whether it grows above or below.
	last := "third"
	for _, name := range []string{"fourth", "fifth", "sixth"} {
		c.home.MakeVault(name)
		c.makeKey(name, "top", key.Spec{Kty: "oct", Bits: 256})
		err := c.encrypt(last, tenancy.EncryptionSpec{Vault: name, Key: "top"})
		if name == "sixth" {
			c.Reason(err, "CustomerKeyChain")
			break
		}
		c.Must(err)
		c.opens("password", "x")
		last = name
	}
	c.home.MakeVault("lowest")
	c.Reason(c.encrypt("lowest", tenancy.EncryptionSpec{Vault: "billing", Key: "own"}), "CustomerKeyChain")
}

func TestWhoMayChooseACustomersKey(t *testing.T) {
	c := newCustomer(t)
	c.makeKey("keys", "small", key.Spec{Kty: "oct", Bits: 128})
	c.makeKey("keys", "curve", key.Spec{Kty: "EC"})
	item, err := c.CryptoKeys.Create(c.Ctx, c.in("keys"), "signs", key.Spec{Kty: "RSA"}, key.Input{Enabled: true, Ops: []string{"sign", "verify"}})
	c.Must(err)
	for name, spec := range map[string]tenancy.EncryptionSpec{
		"128 bits": {Vault: "keys", Key: "small"}, "a curve": {Vault: "keys", Key: "curve"}, "a key that signs": {Vault: "keys", Key: "signs", Version: item.Version.ID},
		"a bad name": {Vault: "keys", Key: "a/b"}, "too long": {Vault: "keys", Key: "root", BackupDays: 3654}, "negative": {Vault: "keys", Key: "root", BackupDays: -1},
	} {
		if err := c.encrypt("billing", spec); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spec := range map[string]tenancy.EncryptionSpec{
		"no vault": {Vault: "nowhere", Key: "root"}, "no key": {Vault: "keys", Key: "none"}, "no version": {Vault: "keys", Key: "root", Version: vault.NewVersionID(c.Clock.Now())},
	} {
		if err := c.encrypt("billing", spec); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
		if r := c.Audit.Records(authz.VaultWrite); r[len(r)-1].Outcome != audit.Failed {
			t.Errorf("%s is recorded as %+v", name, r[len(r)-1])
		}
	}
	// Who may write the vault alone may not take somebody's key for it, and who may use the key alone may not change the vault.
	writer, user := c.home.Person("writer"), c.home.Person("user")
	billing, keys := c.view("billing").Scope(), c.view("keys").Scope()
	c.home.Grant(writer, authz.Contributor, billing)
	c.home.Grant(user, authz.CryptoServiceEncryption, keys)
	for _, who := range []*tenancytest.Person{writer, user} {
		if _, err := c.Tenancy.Encrypt(c.Ctx, who.Call(""), c.home.Vault("billing"), root); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", who.Name, err)
		}
	}
	c.home.Grant(user, authz.Contributor, billing)
	if _, err := c.Tenancy.Encrypt(c.Ctx, user.Call(""), c.home.Vault("billing"), root); err != nil {
		t.Errorf("with both: %v", err)
	}
	// Another tenant's vault is as unknown as one that does not exist.
	other := c.Tenant("other")
	v := other.MakeVault("theirs")
	foreign := other.Owner.Call("")
	other.Grant(other.Owner, authz.VaultAdministrator, "/")
	view, err := c.Guard.View(c.Ctx, v.Name)
	c.Must(err)
	foreign.Vault = view
	_, err = c.CryptoKeys.Create(c.Ctx, foreign, "root", key.Spec{Kty: "RSA"}, key.Input{Enabled: true})
	c.Must(err)
	there := c.encrypt("billing", tenancy.EncryptionSpec{Vault: "theirs", Key: "root"})
	nowhere := c.encrypt("billing", tenancy.EncryptionSpec{Vault: "theirz", Key: "root"})
	if !fault.Is(there, fault.NotFound) || strings.ReplaceAll(there.Error(), "theirs", "theirz") != nowhere.Error() {
		t.Errorf("another tenant's: %v; nobody's: %v", there, nowhere)
	}
}

func (c *customer) view(name string) (v *vault.Vault) {
	c.TB.Helper()
	c.Must(c.Store.View(c.Ctx, func(tx store.Tx) (err error) {
		v, err = tx.VaultByName(c.Ctx, name)
		return err
	}))
	return v
}

// A pinned version is used through rotations, and another one can be chosen.
func TestAPinnedCustomersKey(t *testing.T) {
	c := newCustomer(t)
	c.set("password", "x")
	item, err := c.CryptoKeys.Get(c.Ctx, c.in("keys"), key.Selector{Name: "root"})
	c.Must(err)
	spec := root
	spec.Version = item.Version.ID
	c.Must(c.encrypt("billing", spec))
	c.Clock.Advance(8 * day)
	_, err = c.CryptoKeys.Rotate(c.Ctx, c.in("keys"), "root")
	c.Must(err)
	_, err = c.Keys.Maintain(c.Ctx)
	c.Must(err)
	if got := c.wrapped(); len(got) != 1 || got[0] != spec.Version {
		t.Errorf("wrapped with %v, want %s", got, spec.Version)
	}
	c.enable(spec.Version, false)
	c.closed("disabled")
	c.enable(spec.Version, true)
	c.Must(c.encrypt("billing", root))
	c.enable(spec.Version, false)
	c.opens("password", "x")
}
