package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
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
	options options
	// files is the directory of its files, flags are those of this demo beside it.
	files   string
	flags   []string
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

// startKeywright runs dev mode with its files in dir/keywright-files, on the address to listen at, and returns when it is ready.
func startKeywright(ctx context.Context, o options, dir, listen string, flags ...string) (*keywright, error) {
	k := &keywright{binary: o.binary, options: o, files: filepath.Join(dir, "keywright-files"), flags: flags}
	return k, k.start(ctx, listen)
}

// again starts a server that has ended, with the same files and at the same address.
func (k *keywright) again(ctx context.Context) error { return k.start(ctx, k.env["KEYWRIGHT_ADDR"]) }

func (k *keywright) start(ctx context.Context, listen string) error {
	cmd := exec.Command(k.binary, append([]string{"dev", "--dir", k.files, "--listen", listen}, k.flags...)...)
	cmd.Env = ownEnvironment()
	k.options.listen(cmd)
	p, err := process.Start("keywright dev", cmd)
	if err != nil {
		return err
	}
	k.process, k.env = p, nil
	// The file is removed at the start and written, whole, when everything is ready.
	dotenv := filepath.Join(k.files, "dev.env")
	err = p.Await(ctx, 30*time.Second, func() bool {
		// After a kill the file of the start before is there for a moment.
		env, err := readEnv(dotenv)
		if err == nil && env["KEYWRIGHT_ADDR"] != "" && answers(ctx, env["KEYWRIGHT_ADDR"]) {
			k.env = env
		}
		return k.env != nil
	})
	if err != nil {
		return errors.Join(err, k.stop())
	}
	return nil
}

// answers reports whether somebody listens at an address.
func answers(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp4", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
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
