package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/npm"
	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/e2e/tdsfake"
)

const (
	// publicSuffix is where the public cloud has its vaults.
	publicSuffix    = "vault.azure.net"
	publicVaultHost = vaultName + "." + publicSuffix
	// databaseHost is a name as Azure SQL Database gives them.
	databaseHost = vaultName + ".database.windows.net"
	// appPort is free in part three's namespace, as every port is but those below.
	appPort = 3000
)

// enterPublicNamePart runs part three in a namespace of its own: this program again, with -public-name.
func (s *stage) enterPublicNamePart(ctx context.Context) error {
	title("Part three: an application written for Azure, byte for byte, under the public name")
	if err := netns.Available(true); err != nil {
		remark("left out: %v", err)
		return nil
	}
	var modules string
	sample := s.sample("app-mssql")
	if err := step("the application's packages are installed", func() (_ string, err error) {
		modules, err = npm.Install(ctx, sample)
		return "", err
	}); err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "three")
	if err := os.MkdirAll(filepath.Join(dir, "app"), 0o755); err != nil {
		return err
	}
	if err := npm.Lay(sample, modules, filepath.Join(dir, "app"), "server.js"); err != nil {
		return err
	}
	cmd, err := s.inNamespace(ctx, dir)
	if err != nil {
		return err
	}
	p, err := process.Start("part three", cmd)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
	}
	// After an interrupt part three ends its own programs first.
	if err := p.Stop(syscall.SIGTERM, 20*time.Second); err != nil {
		return err
	}
	if !p.Succeeded() {
		return errors.New("part three did not end well; see above")
	}
	return nil
}

func (s *stage) inNamespace(ctx context.Context, dir string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	binary, err := filepath.Abs(s.binary)
	if err != nil {
		return nil, err
	}
	spec := netns.Spec{Network: true, Hosts: hostsFile(publicVaultHost + " " + databaseHost)}
	args := []string{"-public-name", dir, "-keywright", binary}
	if s.verbose {
		args = append(args, "-v")
	}
	cmd, err := spec.Command(context.WithoutCancel(ctx), self, args...)
	if err != nil {
		return nil, err
	}
	cmd.Dir = s.root
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd, nil
}

// publicNamePart is part three, in its namespace: every name and port here is its own.
func publicNamePart(ctx context.Context, o options) (err error) {
	dir := o.publicName
	remark("in a network of its own, %s leads to this machine; nothing outside is altered", publicVaultHost)
	var k *keywright
	if err := step("keywright dev runs", func() (_ string, err error) {
		k, err = startKeywright(ctx, o, dir, "127.0.0.1:443", "--suffix", publicSuffix)
		return "https://" + publicVaultHost, err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.stop()) }()

	var database *tdsfake.Server
	var connectionString string
	if err := step("a database answers at "+databaseHost, func() (_ string, err error) {
		database, connectionString, err = startDatabase(o)
		return "a protocol fake, not SQL Server", err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close()) }()

	if err := step("the connection string is in the vault, as "+secretName, func() (string, error) {
		return "", k.setSecret(ctx, connectionString)
	}); err != nil {
		return err
	}
	return publicNameApp(ctx, o, k, database, dir)
}

// startDatabase returns the fake, and the connection string as Azure's portal would show it.
func startDatabase(o options) (*tdsfake.Server, string, error) {
	password := rand.Text()
	var log *slog.Logger
	if o.verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	server, err := tdsfake.Start(tdsfake.Config{
		Listen: "127.0.0.1:1433",
		Names:  []string{databaseHost},
		Logins: map[string]tdsfake.Login{"app": {Password: password}},
		Log:    log,
	})
	return server, "Server=tcp:" + databaseHost + ",1433;Initial Catalog=app;Persist Security Info=False;User ID=app;" +
		"Password=" + password + ";MultipleActiveResultSets=False;Encrypt=True;TrustServerCertificate=False;" +
		"Connection Timeout=30;", err
}

func publicNameApp(ctx context.Context, o options, k *keywright, database *tdsfake.Server, dir string) (err error) {
	var a *app
	if err := step("the application starts, unmodified, with a managed identity and no credential", func() (string, error) {
		caFile, err := bothCAs(k, database, dir)
		if err != nil {
			return "", err
		}
		a, err = startApp(o, exec.Command("node", "server.js"), filepath.Join(dir, "app"), appPort, appEnvironment(k, caFile))
		return "", err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	return step("GET /healthz, which asks the database", func() (string, error) { return a.healthy(ctx) })
}

// bothCAs writes the two certificates that the application has to trust here; in the cloud they are public ones.
func bothCAs(k *keywright, database *tdsfake.Server, dir string) (string, error) {
	vault, err := os.ReadFile(k.env["NODE_EXTRA_CA_CERTS"])
	if err != nil {
		return "", fmt.Errorf("reading the vault's CA: %w", err)
	}
	path := filepath.Join(dir, "trusted.pem")
	return path, os.WriteFile(path, bytes.Join([][]byte{vault, database.CA()}, []byte("\n")), 0o644)
}
