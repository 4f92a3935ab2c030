package server

import (
	"fmt"
	"strings"

	"golang.org/x/time/rate"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/backup/full"
	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotation"
)

// FromFile turns a configuration into what a server needs to know. Secrets are read from their files.
func FromFile(f *config.File) (c Config, err error) {
	c = Config{Dir: string(f.Directory), Region: f.Region, SlowRequest: f.Log.SlowRequest,
		AuditSegmentBytes: int64(f.Audit.Segment), AuditReserveBytes: int64(f.Audit.Reserve),
		AuditShipEvery: f.Audit.ShipEvery, AuditShippedKept: f.Audit.ShippedKept,
		EventAllow: f.Outbound.Events, IssuerAllow: f.Outbound.Issuers, EndpointAllow: f.Outbound.Endpoints,
		Enrolment: Enrolment{HTTPPort: f.ACME.HTTPPort, TLSPort: f.ACME.TLSPort, Resolver: string(f.ACME.Resolver), Allow: f.Outbound.ACME},
		Seal:      SealConfig{KeyFiles: texts(f.Seal.KeyFiles), PassphraseFile: string(f.Seal.PassphraseFile), Shares: f.Seal.Shares},
		Limits: Limits{MaxSecretBytes: int(f.Limits.MaxSecret), MaxVersions: f.Limits.MaxVersions, MaxBackupBytes: int64(f.Limits.MaxBackup),
			MaxConnections: f.Limits.MaxConnections, MaxBodyMemory: int64(f.Limits.MaxBodyMemory)},
		Backup: full.Settings{Dir: string(f.Backup.Directory), Recipients: f.Backup.Recipients, Every: f.Backup.Every, Keep: f.Backup.Keep},
		Announce: f.Shutdown.Announce, Drain: f.Shutdown.Drain, BackupsKept: f.Keys.BackupsKept}
	c.Limits.PerCaller, c.Limits.PerVault, c.Limits.Burst = rate.Limit(f.Limits.RatePerPrincipal), rate.Limit(f.Limits.RatePerVault), f.Limits.Burst
	c.Durability = audit.Fsync
	for _, place := range []string{string(f.Audit.CheckpointDir), string(f.Audit.CheckpointURL)} {
		if place != "" {
			c.AuditCopies = append(c.AuditCopies, place)
		}
	}
	if f.Audit.Durability == "os" {
		c.Durability = audit.OS
	}
	c.Rotation = rotationOf(&f.Rotation)
	for _, text := range f.ACME.Names {
		n, err := ParseChallengeName(text)
		if err != nil {
			return c, fmt.Errorf("acme.names: %w", err)
		}
		c.ChallengeNames = append(c.ChallengeNames, n)
	}
	if f.Tracing != nil {
		c.TraceEndpoint = string(f.Tracing.Endpoint)
	}
	if m := f.Mail; m != nil {
		c.Mail = Mail{Relay: string(m.Relay), From: m.From, CAFile: string(m.CAFile)}
		if c.Mail.Password, err = line(m.PasswordFile); err != nil {
			return c, fmt.Errorf("reading the password of the mail relay: %w", err)
		}
	}
	if s := f.Store; s.Engine == "postgres" {
		c.Store = StoreConfig{DSNFile: string(s.DSNFile), PasswordFile: string(s.PasswordFile), Schema: s.Schema}
	}
	if t := f.Seal.Token; t != nil {
		c.Seal.Token = &TokenSeal{Module: string(t.Module), Token: t.Label, PINFile: string(t.PINFile), Key: t.Key}
	}
	if t := f.Token; t != nil {
		c.Token.Module, c.Token.Token = string(t.Module), t.Label
		if c.Token.PIN, err = line(t.PINFile); err != nil {
			return c, fmt.Errorf("reading the PIN of the PKCS#11 token: %w", err)
		}
	}
	return c, nil
}

func texts[T ~string](list []T) (out []string) {
	for _, t := range list {
		out = append(out, string(t))
	}
	return out
}

// maxSecretLine bounds a password or a PIN in a file, in bytes.
const maxSecretLine = 4 << 10

// line reads a secret file of one line; no file is no secret.
func line(path config.SecretFile) (redact.String, error) {
	if path == "" {
		return "", nil
	}
	text, err := config.ReadSecretFile(string(path), maxSecretLine)
	defer clear(text)
	return redact.String(strings.TrimRight(string(text), "\r\n")), err
}

func rotationOf(r *config.Rotation) Rotation {
	pace := rotation.DefaultPace
	pace.Look, pace.Probe, pace.Settle = rotation.Duration(r.Look), rotation.Duration(r.Probe), rotation.Duration(r.Settle)
	return Rotation{Pace: pace, Leasing: rotation.LeasingFor(r.Lease), Poll: min(rotation.DefaultPoll, r.Look), // who looks more often has to look at the queue as often
		Files: r.Files, Programs: texts(r.Programs), MaxAge: r.MaxAge}
}
