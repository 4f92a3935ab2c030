package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/e2e/netns"
)

// devVaultHost is the name of dev mode's vault under its default suffix.
const devVaultHost = vaultName + ".vault.keywright.localhost"

// hostsFile makes names lead to this machine, and nothing else.
func hostsFile(names string) string {
	return "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 " + names + "\n"
}

// naming is how the application of part one finds the vault's name. The SDKs for Go and Python reach a vault at
// https://127.0.0.1:PORT; that for JavaScript cannot (its URL parser reads the challenge's resource, https://0.0.1,
// as the address 0.0.0.1), so this application needs the name, and *.localhost is resolved by few C libraries.
type naming struct {
	how string
	// flags are further ones of `keywright dev`.
	flags []string
	// command makes the application's process.
	command func(name string, args ...string) (*exec.Cmd, error)
}

// chooseNaming prefers what changes nothing on this machine: a hosts file that only the application sees; a resolver
// that already knows the name; and only then a marked block in /etc/hosts, which dev mode removes at its end.
func chooseNaming(ctx context.Context) (naming, error) {
	denied := netns.Available(false)
	if denied == nil {
		spec := netns.Spec{Hosts: hostsFile(devVaultHost)}
		return naming{
			how: "by a hosts file that only the application sees",
			command: func(name string, args ...string) (*exec.Cmd, error) {
				// Not ctx: the application is asked to end, not killed.
				return spec.Command(context.Background(), name, args...)
			},
		}, nil
	}
	plain := func(name string, args ...string) (*exec.Cmd, error) { return exec.Command(name, args...), nil }
	if resolves(ctx, devVaultHost) {
		return naming{how: "by this machine's resolver", command: plain}, nil
	}
	if unix.Access("/etc/hosts", unix.W_OK) == nil {
		return naming{how: "by a block in /etc/hosts, for as long as the demo runs", flags: []string{"--hosts"}, command: plain}, nil
	}
	return naming{}, fmt.Errorf("the application has to find %s: %w; or add this line to /etc/hosts: 127.0.0.1 %s",
		devVaultHost, denied, devVaultHost)
}

// resolves asks Node.js, whose resolver is the one that counts.
func resolves(ctx context.Context, host string) bool {
	cmd := exec.CommandContext(ctx, "node", "-e",
		"require('dns').lookup(process.argv[1], (e, a) => process.exit(!e && (a === '127.0.0.1' || a === '::1') ? 0 : 1))", host)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	return cmd.Run() == nil
}
