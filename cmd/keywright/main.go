// Keywright keeps secrets, keys and certificates, and changes them while everything that uses them keeps running. This
// program is the server and the command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/internal/cli"
	"github.com/keywright/keywright/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	crypto := version.Crypto()
	code := cli.Run(ctx, cli.Config{Version: version.String(), FIPS: crypto.FIPS, FIPSModule: crypto.Module, OutsideFIPS: crypto.Outside, Commands: []*cobra.Command{devCommand(), serverCommand(), initCommand(), doctorCommand(), restoreCommand()}, VerifyAudit: verifyAudit, ProveBackup: proveBackup, OfflineBackup: offlineBackup,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}, os.Args[1:])
	stop()
	os.Exit(code)
}
