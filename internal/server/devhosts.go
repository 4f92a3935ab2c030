package server

import (
	"context"
	"net"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// ip is the address of the TLS listener.
func (d *Dev) ip() string { return d.listeners[0].Addr().(*net.TCPAddr).IP.String() }

// hostNames lists the names that the server answers to: its own and those of its live vaults.
func (d *Dev) hostNames(ctx context.Context) ([]string, error) {
	names := []string{d.names.api, d.names.login, d.names.arm, d.names.graph}
	err := d.core.store.View(ctx, func(tx store.Tx) error {
		vaults, err := tx.Vaults(ctx, store.VaultQuery{Tenant: d.estate.Tenant})
		for _, v := range vaults {
			names = append(names, vault.NameKey(v.Name)+"."+d.names.suffix)
		}
		return err
	})
	return names, err
}

// keepHosts keeps the names in the machine's hosts file until the server is closed.
func (d *Dev) keepHosts(ctx context.Context) error {
	h := newHostsFile(hostsPath, d.config.Dir)
	refresh := func(ctx context.Context) error {
		names, err := d.hostNames(ctx)
		if err != nil {
			return err
		}
		return h.set(d.ip(), names)
	}
	if err := refresh(ctx); err != nil {
		return err
	}
	d.core.onClose(func() error { return h.set("", nil) })
	d.core.afterVaults(refresh, "the hosts file could not be kept")
	return nil
}

// afterVaults calls refresh, in the background, after commits that change a vault. Several changes in a row may make one
// call. complaint is logged with its errors.
func (k *core) afterVaults(refresh func(context.Context) error, complaint string) {
	changed := make(chan struct{}, 1)
	k.onClose(wrapStop(k.store.Watch(func(c *store.Commit) {
		for i := range c.Changes {
			if c.Changes[i].Kind == store.VaultChanged {
				select {
				case changed <- struct{}{}:
				default: // a refresh is due already
				}
			}
		}
	})))
	k.background(func(ctx context.Context) {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				if err := refresh(ctx); err != nil && ctx.Err() == nil {
					k.log.Error(complaint, "error", err)
				}
			}
		}
	})
}
