package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/backup/full"
	"github.com/keywright/keywright/internal/cli"
	"github.com/keywright/keywright/internal/keyring/harden"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/server"
)

func devCommand() *cobra.Command {
	var c server.DevConfig
	var level, durability, mailPassword, pinFile string
	var eventAllow, issuerAllow, acmeAllow, endpointAllow, challengeNames []string
	var perPrincipal, perVault float64
	pace, lease := rotation.DefaultPace, rotation.DefaultLeasing.TTL
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Start a development server on this machine",
		Long: `Start everything on one TLS port of loop-back, with a private CA, a tenant, a subscription, a resource group "dev" and a vault "demo".

The directory keeps it all: started again on the same directory, the server has everything that it had. When the server is ready it
prints "ready" on standard output, and DIR/dev.env holds what clients need:

  keywright dev --dir ./kw &
  set -a; . ./kw/dev.env; set +a

This server is for trying things out: its credentials lie in a file. It listens on loop-back only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := logLevel(level)
			if err != nil {
				return err
			}
			if c.Durability, err = auditDurability(durability); err != nil {
				return err
			}
			if c.EventAllow, err = networks("event-allow", eventAllow); err != nil {
				return err
			}
			if c.IssuerAllow, err = networks("issuer-allow", issuerAllow); err != nil {
				return err
			}
			if c.Enrolment.Allow, err = networks("acme-allow", acmeAllow); err != nil {
				return err
			}
			if c.EndpointAllow, err = networks("endpoint-allow", endpointAllow); err != nil {
				return err
			}
			for _, text := range challengeNames {
				n, err := server.ParseChallengeName(text)
				if err != nil {
					return err
				}
				c.ChallengeNames = append(c.ChallengeNames, n)
			}
			if err := readMail(&c.Mail, mailPassword, os.Getenv); err != nil {
				return err
			}
			if err := tokenConfig(&c.Token, pinFile, os.Getenv, os.Unsetenv); err != nil {
				return err
			}
			c.Rotation.Pace, c.Rotation.Leasing = pace, rotation.LeasingFor(lease)
			c.Rotation.Poll = min(rotation.DefaultPoll, pace.Look.Std()) // who looks more often has to look at the queue as often
			c.Limits.PerCaller, c.Limits.PerVault = rate.Limit(perPrincipal), rate.Limit(perVault)
			if c.TraceEndpoint == "" {
				c.TraceEndpoint = traceEndpoint(os.Getenv)
			}
			c.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: l}))
			return runDev(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Dir, "dir", "", "directory of the server's files; made when missing")
	f.StringVar(&c.Store.DSNFile, "store-dsn-file", "", "file that holds the connection string of a PostgreSQL database to keep everything in, such as postgres://user:password@host/database (default the directory)")
	f.StringVar(&c.Store.Schema, "store-schema", "keywright", "schema of that database that the server has to itself")
	f.StringVar(&c.Listen, "listen", "127.0.0.1:8443", "address of loop-back to listen on; port 0 takes a free one")
	f.StringVar(&c.Suffix, "suffix", server.DefaultSuffix, "DNS suffix of the vaults")
	f.StringVar(&c.ChallengeTenant, "challenge-tenant", "", "how challenges on named vaults name the tenant: adfs or id (default adfs, or id for vault.azure.net)")
	f.DurationVar(&c.Announce, "announce", 0, "how long the server says that it is about to end, and goes on serving, before it ends")
	f.BoolVar(&c.Hosts, "hosts", false, "keep the names in the machine's hosts file while the server runs")
	f.StringVar(&durability, "audit-durability", "os", "what an acknowledged audit record of a read survives: os (the end of the process) or fsync (power loss)")
	f.StringSliceVar(&c.AuditCopies, "audit-copies", nil, "places to which signed checkpoints of the audit log are copied: absolute paths of directories, or https URLs")
	f.DurationVar(&c.AuditShipEvery, "audit-ship-every", archive.ShipEvery, "how often a node that shares a PostgreSQL database ships its audit log to it")
	f.StringVar(&c.TraceEndpoint, "trace-endpoint", "", "URL of an OpenTelemetry collector for traces over HTTP, such as http://127.0.0.1:4318/v1/traces (default from OTEL_EXPORTER_OTLP_ENDPOINT)")
	f.Float64Var(&perPrincipal, "rate-per-principal", 0, "most requests of one principal per second; 0 sets no bound")
	f.Float64Var(&perVault, "rate-per-vault", 0, "most requests to one vault per second; 0 sets no bound")
	f.IntVar(&c.Limits.MaxSecretBytes, "max-secret-bytes", secret.DefaultMaxValueBytes, "largest value of a secret, in bytes")
	f.IntVar(&c.Limits.MaxVersions, "max-versions", 0, "most versions of one secret; 0 sets no bound")
	f.IntVar(&c.Limits.MaxConnections, "max-connections", server.DefaultMaxConnections, "most open connections of a listener; those beyond wait")
	f.Int64Var(&c.Limits.MaxBodyMemory, "max-body-memory", server.DefaultMaxBodyMemory, "most bytes of request bodies in memory at once; beyond them requests get 429")
	f.StringSliceVar(&eventAllow, "event-allow", nil, "networks that event endpoints may be in although they are refused otherwise, such as 169.254.10.0/24")
	f.StringSliceVar(&issuerAllow, "issuer-allow", nil, "networks that trusted OpenID Connect issuers may be in although they are refused otherwise, such as 169.254.10.0/24")
	f.StringSliceVar(&acmeAllow, "acme-allow", nil, "networks in which answers to ACME challenges are looked for although they are refused otherwise, such as 169.254.10.0/24")
	f.IntVar(&c.Enrolment.HTTPPort, "acme-http-port", 80, "port at which answers to the challenge http-01 are looked for")
	f.IntVar(&c.Enrolment.TLSPort, "acme-tls-port", 443, "port at which answers to the challenge tls-alpn-01 are looked for")
	f.StringVar(&c.Enrolment.Resolver, "acme-resolver", "", "name server that is asked about the names of ACME challenges, HOST:PORT (default the machine's own)")
	f.StringSliceVar(&endpointAllow, "endpoint-allow", nil, "networks that endpoints of certificates may be in although they are refused otherwise, such as 169.254.10.0/24")
	f.StringSliceVar(&challengeNames, "challenge-name", nil, "names that ACME issuers may prove at this server, as TENANT=NAME, VAULT=NAME or VAULT/ISSUER=NAME; .NAME is also for what is below")
	f.StringVar(&c.Mail.Relay, "mail-relay", "", "URL of the relay that takes mail to contacts, smtps://user@host:465 or smtp://user@host:587 with STARTTLS (default from KEYWRIGHT_MAIL_RELAY); none sends no mail")
	f.StringVar(&c.Mail.From, "mail-from", "", "sender of mail, such as keywright@example.org (default from KEYWRIGHT_MAIL_FROM)")
	f.StringVar(&mailPassword, "mail-password-file", "", "file that holds the password of the relay's user (default from KEYWRIGHT_MAIL_PASSWORD_FILE)")
	f.StringVar(&c.Mail.CAFile, "mail-ca-file", "", "PEM bundle of the authorities that verify the relay (default the system's)")
	f.BoolVar(&c.Rotation.Files, "rotation-files", false, "let rotation policies name files and programs of this machine, as the rotator nats needs it")
	f.StringSliceVar(&c.Rotation.Programs, "rotation-program", nil, "absolute paths of programs that rotation policies may run, with the rotator exec")
	f.DurationVar(&lease, "rotation-lease", lease, "how long a worker that died keeps its rotations from being continued by another")
	f.DurationVar((*time.Duration)(&pace.Look), "rotation-look", pace.Look.Std(), "how often a revocation looks whether consumers have moved")
	f.DurationVar((*time.Duration)(&pace.Probe), "rotation-probe", pace.Probe.Std(), "least time between two logins of one rotation that may be refused: wrong logins lock accounts")
	f.DurationVar((*time.Duration)(&pace.Settle), "rotation-settle", pace.Settle.Std(), "how long after a promotion a target may still lose what it acknowledged; nothing is revoked before")
	f.StringVar(&c.Token.Module, "pkcs11-module", "", "library of the PKCS#11 token that holds keys of -HSM types (default $KEYWRIGHT_PKCS11_MODULE)")
	f.StringVar(&c.Token.Token, "pkcs11-token", "", "label of that token (default $KEYWRIGHT_PKCS11_TOKEN)")
	f.StringVar(&pinFile, "pkcs11-pin-file", "", "file with the PIN of that token (default $KEYWRIGHT_PKCS11_PIN_FILE; the PIN may also be in $KEYWRIGHT_PKCS11_PIN)")
	f.DurationVar(&c.Rotation.MaxAge, "max-secret-age", 0, "how old secrets may become that neither expire nor have a limit of their own or of their vault, such as 8760h; 0 limits nothing")
	f.StringVar(&c.Backup.Dir, "backup-dir", "", "directory of the backups of the installation (default DIR/backups)")
	f.StringArrayVar(&c.Backup.Recipients, "backup-recipient", nil, "public key (age1…) whose identity opens backups, beside the seal")
	f.DurationVar(&c.Backup.Every, "backup-every", 0, "how often a backup of the installation is made by itself; 0 for never")
	f.DurationVar(&c.Backup.Keep, "backup-keep", full.DefaultKeep, "how long backups of the installation are kept")
	f.StringVar(&level, "log-level", "warn", "what is logged: debug, info, warn or error")
	cmd.MarkFlagRequired("dir")
	cmd.MarkFlagDirname("dir")
	return cmd
}

// networks reads the values of a flag.
func networks(flag string, list []string) (prefixes []netip.Prefix, err error) {
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, cli.Usage("--%s %q is not a network: write an address and the length of its prefix, such as 169.254.10.0/24", flag, s)
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

func auditDurability(word string) (audit.Durability, error) {
	switch word {
	case "os":
		return audit.OS, nil
	case "fsync":
		return audit.Fsync, nil
	}
	return audit.OS, cli.Usage("the audit durability %q is not one of os and fsync", word)
}

// traceEndpoint reads where traces go from the environment variables of the OpenTelemetry specification (SDK and exporter
// configuration); it is empty when they name no collector or turn tracing off.
func traceEndpoint(getenv func(string) string) string {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return ""
	}
	if whole := getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); whole != "" {
		return whole
	}
	if base := getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); base != "" {
		return strings.TrimSuffix(base, "/") + "/v1/traces"
	}
	return ""
}

func logLevel(word string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(word)); err != nil {
		return l, cli.Usage("the log level %q is not one of debug, info, warn and error", word)
	}
	return l, nil
}

// runDev runs a development server until ctx ends or the server fails.

func runDev(ctx context.Context, c server.DevConfig, stdout, stderr io.Writer) error {
	if err := harden.Process(); err != nil {
		return err
	}
	collectSeldom(os.Getenv)
	d, err := server.StartDev(ctx, c)
	if err != nil {
		return fmt.Errorf("starting the development server: %w", err)
	}
	fmt.Fprintf(stderr, "Keywright listens on %s. Its vault is %q.\n", d.URL(), d.VaultName())
	fmt.Fprintf(stderr, "Load the environment with:  set -a; . %s; set +a\n", d.EnvFile())
	lines, err := d.HostLines(ctx)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	if !c.Hosts {
		fmt.Fprintln(stderr, "Clients that need names find the server with these lines in the hosts file, or start it with --hosts:")
		for _, line := range lines {
			fmt.Fprintln(stderr, "  "+line)
		}
	}
	fmt.Fprintln(stdout, "ready")
	select {
	case <-ctx.Done():
		fmt.Fprintln(stderr, "Ending; requests under way may finish.")
		return d.Close()
	case err := <-d.Failed():
		d.Close()
		return err
	}
}
