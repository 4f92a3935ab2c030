package server

import (
	"context"
	"path/filepath"
)

// URL returns the address that needs no name resolution.
func (d *Dev) URL() string { return "https://" + d.address() }

// VaultName returns the name of the vault to begin with.
func (d *Dev) VaultName() string { return devVault }

// EnvFile returns the path of dev.env.
func (d *Dev) EnvFile() string { return filepath.Join(d.config.Dir, envFile) }

// HostLines returns the lines of a hosts file (hosts(5)) that lead the server's names to it.
func (d *Dev) HostLines(ctx context.Context) ([]string, error) {
	names, err := d.hostNames(ctx)
	return hostLines(d.ip(), names), err
}
