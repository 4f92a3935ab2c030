package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/oauth"
	"github.com/keywright/keywright/internal/redact"
)

// DefaultSuffix is the DNS suffix of a development server's vaults. Names below localhost never leave the machine (RFC
// 6761, section 6.3).
const DefaultSuffix = "vault.keywright.localhost"

// DevConfig makes a development server.
type DevConfig struct {
	// Config with an AuditReserveBytes of 0 means 64 MiB here.
	Config
	// Listen is the loop-back address of the TLS listener, such as 127.0.0.1:8443; port 0 takes a free one.
	Listen string
	// Suffix is DefaultSuffix when empty.
	Suffix string
	// ChallengeTenant says how challenges name the tenant: "adfs", with which client libraries ask no public host about the
	// authority, or "id", which applications need that are configured with the tenant's id. Empty means adfs, or id for the
	// public cloud's suffix.
	ChallengeTenant string
	// Hosts keeps the vaults' names in the machine's hosts file while the server runs.
	Hosts bool
}

// Dev is a running development server.
type Dev struct {
	*site
	estate *estate
	env    []variable
	// keep says that the hosts file is kept.
	keep bool
}

// StartDev starts everything on one TLS port of loop-back, with a private CA and a vault to use at once. When it returns
// the server answers and dev.env is written.
func StartDev(ctx context.Context, c DevConfig) (_ *Dev, err error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if err := mkdir(c.Dir); err != nil {
		return nil, err
	}
	envPath := filepath.Join(c.Dir, envFile)
	before, err := takeEnv(envPath)
	if err != nil {
		return nil, fmt.Errorf("removing the %s of the start before: %w", envFile, err)
	}
	l, err := listenLoopback(c.Listen)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	addr := l.Addr().(*net.TCPAddr)
	d := &Dev{site: &site{names: namesFor(c.Suffix, ":"+strconv.Itoa(addr.Port)), base: addr.String()}, keep: c.Hosts}
	if c.ChallengeTenant != "" {
		d.names.federated = c.ChallengeTenant == challengeByName
	}
	c.WhileSealed = func(h http.Handler) (func(), error) {
		ca, err := openAuthority(c.Dir, c.Clock, d.names.allows)
		if err != nil {
			return nil, err
		}
		return lend(l.(*net.TCPListener), nil, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: ca.certificate, NextProtos: []string{"http/1.1"}}, h, c.Logger), nil
	}
	d.Server = &Server{config: c.Config, failed: make(chan error, 4), hurry: make(chan struct{})}
	if d.core, err = openCore(ctx, &c.Config, d.names.issuerOf, "https://"+addr.String(), d.names.eventLinks(addr.String())); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.estate, err = d.core.findEstate(ctx); err != nil {
		return nil, err
	}
	if d.estate == nil {
		if d.estate, err = d.core.makeEstate(ctx, c.Region); err != nil {
			return nil, err
		}
	}
	d.tenant = d.estate.Tenant
	if err = d.listen(ctx, l, before); err != nil {
		return nil, err
	}
	if err = writeEnv(envPath, d.env); err != nil {
		return nil, err
	}
	return d, nil
}

// devReserveBytes is the audit reserve of a development server: one segment, in which 100,000 decisions have room. The gigabyte
// that production keeps for a full disk would be taken from a laptop by every directory that somebody tries things out in.
const devReserveBytes = 64 << 20

// The ways to name the tenant in challenges.
const (
	challengeByName = "adfs"
	challengeByID   = "id"
)

func (c *DevConfig) complete() error {
	if c.AuditReserveBytes == 0 {
		c.AuditReserveBytes = devReserveBytes
	}
	if c.Backup.Dir == "" && c.Dir != "" {
		c.Backup.Dir = filepath.Join(c.Dir, "backups")
	}
	// Functions that answer events run on the same machine.
	c.EventLoopback = true
	c.mayMake = true
	if c.Suffix == "" {
		c.Suffix = DefaultSuffix
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8443"
	}
	switch c.ChallengeTenant {
	case "", challengeByName, challengeByID:
	default:
		return fmt.Errorf("challenges cannot name the tenant by %q: use %s or %s", c.ChallengeTenant, challengeByName, challengeByID)
	}
	return c.Config.complete()
}

// listenLoopback refuses an address that others could reach: a development server has credentials in a file.
func listenLoopback(address string) (net.Listener, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !ap.Addr().IsLoopback() || !ap.Addr().Is4() {
		return nil, fmt.Errorf("a development server listens on loop-back only, and %q is not an address of it: use 127.0.0.1:PORT", address)
	}
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w; choose another port with --listen", address, err)
	}
	return l, nil
}

// credentials are the secrets of dev.env. Those of the start before go on if their owner still has them.
type credentials struct {
	app, endpoint redact.String
}

func (d *Dev) credentials(ctx context.Context, before map[string]string) (c credentials, err error) {
	c.app, c.endpoint = redact.String(before["AZURE_CLIENT_SECRET"]), redact.String(before["IDENTITY_HEADER"])
	holds, err := d.core.identity.Holds(ctx, d.estate.Tenant, d.estate.App, c.app)
	if err == nil && !holds {
		c.app, err = d.core.appSecret(ctx, d.estate)
	}
	if err != nil {
		return c, err
	}
	holds, err = d.core.identity.Holds(ctx, d.estate.Tenant, d.estate.Identity, c.endpoint)
	if err == nil && !holds {
		c.endpoint, err = d.core.endpointSecret(ctx, d.estate)
	}
	return c, err
}

// identityPort is the port of the identity endpoint in the start before, or 0: applications that run on keep reaching it.
func identityPort(before map[string]string) string {
	if u, err := url.Parse(before["IDENTITY_ENDPOINT"]); err == nil && u.Port() != "" {
		return u.Port()
	}
	return "0"
}

// azCloud is the registration of this server as a cloud of the Azure CLI (az cloud register --cloud-config).
type azCloud struct {
	Endpoints map[string]string `json:"endpoints"`
	Suffixes  map[string]string `json:"suffixes"`
}

func (d *Dev) writeCloud() error {
	base := "https://" + d.address()
	raw, err := json.MarshalIndent(azCloud{
		Endpoints: map[string]string{
			"activeDirectory": base + "/adfs", "activeDirectoryResourceId": base, "resourceManager": base, "management": base,
			"activeDirectoryGraphResourceId": base + "/", "microsoftGraphResourceId": base + "/",
		},
		Suffixes: map[string]string{"keyvaultDns": "." + d.names.suffix + d.names.port},
	}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(d.config.Dir, "az-cloud.json"), append(raw, '\n'), 0o644)
}

// address is the host and port of the TLS listener.
func (d *Dev) address() string { return d.listeners[0].Addr().String() }

// Env returns the lines of dev.env.
func (d *Dev) Env() []string {
	lines := make([]string, len(d.env))
	for i, v := range d.env {
		lines[i] = v.name + "=" + v.value
	}
	return lines
}

// CAFile returns the path of the private CA's certificate.
func (d *Dev) CAFile() string { return filepath.Join(d.config.Dir, caFile) }

// variables lists what dev.env holds.
func (d *Dev) variables(c credentials, identityURL, metricsURL string) []variable {
	base, ca := "https://"+d.address(), d.CAFile()
	return []variable{
		{"KEYWRIGHT_ADDR", d.address()},
		{"KEYWRIGHT_URL", base},
		{"KEYWRIGHT_CA_FILE", ca},
		{"KEYWRIGHT_VAULT_NAME", devVault},
		{"KEYWRIGHT_VAULT_URL", "https://" + devVault + "." + d.names.suffix + d.names.port},
		{"KEYWRIGHT_TENANT_ID", string(d.estate.Tenant)},
		{"KEYWRIGHT_SUBSCRIPTION_ID", string(d.estate.Subscription)},
		{"KEYWRIGHT_RESOURCE_GROUP", devGroup},
		{"KEYWRIGHT_LOGIN_URL", base},
		{"KEYWRIGHT_ARM_URL", base},
		{"KEYWRIGHT_METRICS_URL", metricsURL},
		{"AZURE_KEYVAULT_URL", base},
		{"AZURE_AUTHORITY_HOST", base},
		{"AZURE_TENANT_ID", "adfs"},
		{"AZURE_CLIENT_ID", d.estate.AppID},
		{"AZURE_CLIENT_SECRET", c.app.Reveal()},
		{"IDENTITY_ENDPOINT", identityURL},
		{"IDENTITY_HEADER", c.endpoint.Reveal()},
		{"SSL_CERT_FILE", ca},
		{"NODE_EXTRA_CA_CERTS", ca},
		{"REQUESTS_CA_BUNDLE", ca},
	}
}

// listen starts the doors on the listener and what runs beside them.
func (d *Dev) listen(ctx context.Context, l net.Listener, before map[string]string) error {
	d.listeners = append(d.listeners, l)
	own := l.Addr().(*net.TCPAddr).AddrPort()
	d.addresses = newAddresses(own.Addr(), int(own.Port()))
	ca, err := openAuthority(d.config.Dir, d.config.Clock, d.names.allows)
	if err != nil {
		return err
	}
	// A virtual machine's endpoint asks no secret: whoever is on the machine has its identity. Here the machine is this one.
	d.bound = func(*http.Request) (oauth.Binding, bool) {
		return oauth.Binding{Tenant: d.estate.Tenant, Principal: d.estate.Identity}, true
	}
	doors, err := d.open()
	if err != nil {
		return err
	}
	c, err := d.credentials(ctx, before)
	if err != nil {
		return err
	}
	local, err := d.openLocal(before)
	if err != nil {
		return err
	}
	if d.keep {
		if err := d.keepHosts(ctx); err != nil {
			return err
		}
	}
	config := d.listenerConfig(ca.certificate, tls.VersionTLS12)
	d.serve(l, doors.handler, config, door.Listener{})
	d.keepAddresses(ctx, doors.handler, config)
	d.core.background(d.core.identity.Run)
	d.env = d.variables(c, local+oauth.ManagedPath, local+"/metrics")
	return d.writeCloud()
}

// openLocal starts the plain-http listener of loop-back for identity endpoints and metrics, on the port of the start
// before where it is free. It returns its address as a URL.
func (d *Dev) openLocal(before map[string]string) (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:"+identityPort(before))
	if err != nil {
		if l, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			return "", fmt.Errorf("listening for identity requests: %w", err)
		}
	}
	local, err := d.localHandler()
	if err != nil {
		l.Close()
		return "", err
	}
	d.listeners = append(d.listeners, l)
	d.core.issuers.authorities.listensAt("http://" + l.Addr().String())
	d.core.issuers.suffix.Store(&d.names.suffix)
	d.serve(l, local, nil, door.Listener{})
	return "http://" + l.Addr().String(), nil
}
