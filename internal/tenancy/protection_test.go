package tenancy_test

import (
	"context"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// between does something after a change of what wraps a vault's keys was prepared, and before it is stored.
type between struct {
	tenancy.Keys
	do func()
}

func (b between) Protect(ctx context.Context, tenant vault.TenantID, id vault.ID, customer *vault.CustomerKey) (*keyring.Protection, error) {
	defer b.do()
	return b.Keys.Protect(ctx, tenant, id, customer)
}

func (b between) Rewrap(ctx context.Context, tenant vault.TenantID, v *vault.Vault) (*keyring.Protection, error) {
	defer b.do()
	return b.Keys.Rewrap(ctx, tenant, v)
}

// The background may rewrap a vault's keys while somebody else does, or while the vault's protection is changed: nobody is told to try again.
func TestProtectionChangesMeanwhile(t *testing.T) {
	for name, change := range map[string]func(*customer) error{
		"rewrap": func(c *customer) error {
			_, err := c.Tenancy.Rewrap(c.Ctx, c.boss.Call(""), c.home.Vault("billing"))
			return err
		},
		"encrypt": func(c *customer) error { return c.encrypt("billing", root) },
		"remove": func(c *customer) error {
			_, err := c.Tenancy.RemoveEncryption(c.Ctx, c.boss.Call(""), c.home.Vault("billing"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCustomer(t)
			c.set("password", "before")
			c.Must(c.encrypt("billing", root))
			before := c.wrapped()[0]
			c.Clock.Advance(8 * day)
			_, err := c.CryptoKeys.Rotate(c.Ctx, c.in("keys"), "root")
			c.Must(err)
			moved := 0
			c.Tenancy.Keys = between{c.Tenancy.Keys, func() {
				if moved++; moved == 1 {
					_, err := c.Keys.Maintain(c.Ctx)
					c.Must(err)
				}
			}}
			c.Must(change(c))
			if moved != 2 {
				t.Errorf("the change was prepared %d times: nothing moved under it", moved)
			}
			if now := c.wrapped(); name != "remove" && (len(now) != 1 || now[0] == before) {
				t.Errorf("the vault is wrapped with %v", now)
			}
			c.opens("password", "before")
		})
	}
}

// What moves under every try is told at last, and nothing is half done.
func TestProtectionNeverStandsStill(t *testing.T) {
	c := newCustomer(t)
	c.set("password", "before")
	c.Must(c.encrypt("billing", root))
	c.Tenancy.Keys = between{c.Tenancy.Keys, func() {
		c.Clock.Advance(8 * day)
		_, err := c.CryptoKeys.Rotate(c.Ctx, c.in("keys"), "root")
		c.Must(err)
		_, err = c.Keys.Maintain(c.Ctx)
		c.Must(err)
	}}
	if _, err := c.Tenancy.RemoveEncryption(c.Ctx, c.boss.Call(""), c.home.Vault("billing")); !fault.Is(err, fault.Conflict) {
		t.Errorf("the change ends with %v", err)
	}
	if len(c.wrapped()) != 1 {
		t.Errorf("the vault is wrapped with %v", c.wrapped())
	}
	c.opens("password", "before")
}
