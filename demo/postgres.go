package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/keywright/keywright/e2e/npm"
	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/e2e/process"
)

// prepare makes what both parts need.
func (s *stage) prepare(ctx context.Context) error {
	title("Getting ready")
	return step("keywright is built", func() (string, error) { return s.build(ctx) })
}

// postgresPart is part one.
func (s *stage) postgresPart(ctx context.Context) (err error) {
	title("Part one: an application, its vault, and a real PostgreSQL")
	var modules, dsn string
	sample := s.sample("app-postgres")
	if err := step("the application's packages are installed, as its lock file pins them", func() (_ string, err error) {
		modules, err = npm.Install(ctx, sample)
		return "", err
	}); err != nil {
		return err
	}
	names, err := chooseNaming(ctx)
	if err != nil {
		return err
	}

	dir := filepath.Join(s.dir, "one")
	var k *keywright
	if err := step("keywright dev runs, with a vault named "+vaultName, func() (_ string, err error) {
		k, err = startKeywright(ctx, s.options, dir, "127.0.0.1:0", slices.Concat(names.flags, paceFlags)...)
		if err != nil {
			return "", err
		}
		return k.env["KEYWRIGHT_VAULT_URL"], nil
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.stop()) }()

	var server *pgtest.Server
	if err := step("PostgreSQL runs; the role app has a random password", func() (_ string, err error) {
		server, dsn, err = startPostgres(ctx, s.options)
		return "", err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()

	if err := step("the connection string is in the vault, as "+secretName, func() (string, error) {
		return "keywright secret set … --file - (through stdin)", k.setSecret(ctx, dsn)
	}); err != nil {
		return err
	}
	if err := step("the application's managed identity may read secrets, and no more", func() (string, error) {
		return k.mayOnlyRead(ctx)
	}); err != nil {
		return err
	}
	return s.postgresApp(ctx, k, server, names, sample, modules, filepath.Join(dir, "app"))
}

// startPostgres returns a server with a role app that owns a database app, and the role's connection string.
func startPostgres(ctx context.Context, o options) (*pgtest.Server, string, error) {
	server, err := pgtest.Start(ctx, pgtest.Config{Log: o.log()})
	if err != nil {
		return nil, "", err
	}
	password := rand.Text() // letters and digits: nothing to quote
	err = server.Exec(ctx, "CREATE ROLE app LOGIN PASSWORD '"+password+"'", "CREATE DATABASE app OWNER app")
	if err != nil {
		return nil, "", errors.Join(err, server.Stop())
	}
	return server, server.DSN("app", password, "app"), nil
}

func (s *stage) postgresApp(ctx context.Context, k *keywright, server *pgtest.Server, names naming, sample npm.Config, modules, dir string) (err error) {
	var a *app
	if err := step("the application starts, with a managed identity and no credential", func() (string, error) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		if err := npm.Lay(sample, modules, dir, "server.js"); err != nil {
			return "", err
		}
		host, err := k.vaultHost()
		if err != nil {
			return "", err
		}
		if host != devVaultHost {
			return "", fmt.Errorf("dev mode calls its vault %s, not %s", host, devVaultHost)
		}
		port, err := process.FreePort()
		if err != nil {
			return "", err
		}
		env := appEnvironment(k, k.env["NODE_EXTRA_CA_CERTS"], "HOST=127.0.0.1", "KEY_VAULT_URL="+k.env["KEYWRIGHT_VAULT_URL"])
		cmd, err := names.command("node", "server.js")
		if err != nil {
			return "", err
		}
		a, err = startApp(s.options, cmd, dir, port, env)
		return "it finds the vault " + names.how, err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	if err := step("GET /healthz, which asks the database", func() (string, error) { return a.healthy(ctx) }); err != nil {
		return err
	}
	if err := s.changingPart(ctx, k, server); err != nil {
		return err
	}
	return step("GET /healthz of the application of part one, which ran through it all", func() (string, error) { return a.healthy(ctx) })
}
