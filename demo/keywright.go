package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/keywright/keywright/e2e/process"
)

const (
	// vaultName is that of the vault that dev mode makes.
	vaultName = "demo"
	// secretName is what both applications read.
	secretName = "db-connection-string"
)

// keywright is `keywright dev`, running.
type keywright struct {
	binary  string
	process *process.Process
	// env is the content of dev.env.
	env map[string]string
}

// build makes the binary, unless the user gave one.
func (s *stage) build(ctx context.Context) (string, error) {
	if s.binary != "" {
		return s.binary, nil
	}
	s.binary = filepath.Join(s.dir, "keywright")
	cmd := exec.Command("go", "build", "-o", s.binary, "./cmd/keywright")
	cmd.Dir = s.root
	return "from this source tree", process.Run(ctx, "go build", cmd, 5*time.Second)
}

// startKeywright runs dev mode with its files in dir/keywright and returns when it is ready.
func startKeywright(ctx context.Context, o options, dir string, args ...string) (*keywright, error) {
	files := filepath.Join(dir, "keywright-files")
	cmd := exec.Command(o.binary, append([]string{"dev", "--dir", files}, args...)...)
	cmd.Env = ownEnvironment()
	o.listen(cmd)
	p, err := process.Start("keywright dev", cmd)
	if err != nil {
		return nil, err
	}
	k := &keywright{binary: o.binary, process: p}
	// The file is removed at the start and written, whole, when everything is ready.
	dotenv := filepath.Join(files, "dev.env")
	err = p.Await(ctx, 30*time.Second, func() bool {
		k.env, err = readEnv(dotenv)
		return err == nil
	})
	if err != nil {
		return nil, errors.Join(err, k.stop())
	}
	return k, nil
}

func (k *keywright) stop() error { return k.process.Stop(syscall.SIGTERM, 10*time.Second) }

// vaultHost is the host of the vault's named address.
func (k *keywright) vaultHost() (string, error) {
	address, err := url.Parse(k.env["KEYWRIGHT_VAULT_URL"])
	if err != nil || address.Hostname() == "" {
		return "", fmt.Errorf("dev.env names no usable KEYWRIGHT_VAULT_URL: %q", k.env["KEYWRIGHT_VAULT_URL"])
	}
	return address.Hostname(), nil
}

// setSecret stores a value through the CLI. The value goes through stdin: what is in argv, every user of the machine
// can read.
func (k *keywright) setSecret(ctx context.Context, value string) error {
	cmd := exec.Command(k.binary, "secret", "set", secretName, "--vault", vaultName, "--file", "-")
	cmd.Stdin = strings.NewReader(value)
	cmd.Env = ownEnvironment()
	for name, value := range k.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return process.Run(ctx, "keywright secret set", cmd, 5*time.Second)
}

// readEnv reads KEY=VALUE lines, without quotes, as dev mode writes them.
func readEnv(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	env := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		name, value, found := strings.Cut(lines.Text(), "=")
		if found && !strings.HasPrefix(name, "#") {
			env[name] = value
		}
	}
	return env, lines.Err()
}

// ownEnvironment is this process's environment without what configures clients of vaults: a user who has a real
// subscription must not see the demo in it, nor its credentials in the demo.
func ownEnvironment() []string {
	var kept []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		foreign := name == "SSL_CERT_FILE" || name == "NODE_EXTRA_CA_CERTS" || name == "REQUESTS_CA_BUNDLE"
		for _, prefix := range []string{"AZURE_", "AWS_", "KEYWRIGHT_", "IDENTITY_", "MSI_"} {
			foreign = foreign || strings.HasPrefix(name, prefix)
		}
		if !foreign {
			kept = append(kept, entry)
		}
	}
	return kept
}
