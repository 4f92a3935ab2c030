package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator"
)

// maxName is the longest name in bytes: NAMEDATALEN-1. The server cuts longer ones with a mere notice, and means another role then.
const maxName = 63

// config is the target's configuration.
type config struct {
	// Endpoints are host:port. The first one takes changes; the others are its standbys.
	Endpoints []string `json:"endpoints"`
	// Database is the one that administrator and accounts log in to.
	Database string    `json:"database"`
	TLS      tlsConfig `json:"tls"`
	// OwnerRole owns what the accounts of a pair, or dynamic ones, make.
	OwnerRole string `json:"ownerRole"`
	// ConnectTimeout is a Go duration; 5s when it is empty.
	ConnectTimeout string `json:"connectTimeout"`

	timeout time.Duration
	tls     *tls.Config
}

// tlsConfig says how the server proves who it is.
type tlsConfig struct {
	// Mode is verify-full (the default), require (encrypted, and the server may be anybody), or disable, for loopback alone.
	Mode string `json:"mode"`
	// CA is the certificates that are trusted, in PEM; those of the machine when it is empty.
	CA string `json:"ca"`
}

// members documents the configuration.
var members = []rotator.Member{
	{Name: "endpoints", Type: "list of host:port", Required: true, Help: "The primary first, then every standby that clients log in to: each is probed."},
	{Name: "database", Type: "string", Required: true, Help: "The database that the accounts and the administrator log in to."},
	{Name: "tls", Type: "object {mode, ca}", Help: "mode is verify-full (the default), require or, on loopback only, disable; ca is PEM."},
	{Name: "ownerRole", Type: "string", Help: "The role without login that owns what the accounts make: for alternating pairs, and required for dynamic ones."},
	{Name: "connectTimeout", Type: "duration", Help: "How long one connection may take to be made, 5s unless given."},
}

// parse decodes a configuration and reports all its mistakes at once.
func parse(raw json.RawMessage) (*config, error) {
	c := &config{}
	if err := rotator.Decode("postgres", raw, c); err != nil {
		return nil, err
	}
	var mistakes []string
	wrong := func(format string, args ...any) { mistakes = append(mistakes, fmt.Sprintf(format, args...)) }
	if len(c.Endpoints) == 0 {
		wrong("endpoints must name the primary as host:port")
	}
	seen := map[string]bool{}
	for _, e := range c.Endpoints {
		if _, _, err := split(e); err != nil {
			wrong("endpoints: %q is not host:port", e)
		}
		if seen[e] {
			wrong("endpoints: %q is there twice", e)
		}
		seen[e] = true
	}
	if c.Database == "" || len(c.Database) > maxName || strings.ContainsRune(c.Database, 0) {
		wrong("database must be a name of 1 to %d bytes", maxName)
	}
	if len(c.OwnerRole) > maxName || strings.ContainsRune(c.OwnerRole, 0) {
		wrong("ownerRole must have at most %d bytes", maxName)
	}
	c.timeout = 5 * time.Second
	if c.ConnectTimeout != "" {
		var err error
		if c.timeout, err = time.ParseDuration(c.ConnectTimeout); err != nil || c.timeout < 100*time.Millisecond || c.timeout > time.Minute {
			wrong("connectTimeout must be a duration from 100ms to 1m, such as 5s")
		}
	}
	if complaint := c.prepareTLS(); complaint != "" {
		wrong("%s", complaint)
	}
	if len(mistakes) > 0 {
		return nil, fault.New(fault.Invalid, "the configuration of the postgres target is wrong: %s", strings.Join(mistakes, "; "))
	}
	return c, nil
}

func (c *config) prepareTLS() (complaint string) {
	c.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS.CA != "" {
		c.tls.RootCAs = x509.NewCertPool()
		if !c.tls.RootCAs.AppendCertsFromPEM([]byte(c.TLS.CA)) {
			return "tls.ca holds no certificate in PEM"
		}
	}
	switch c.TLS.Mode {
	case "", "verify-full":
	case "require":
		if c.TLS.CA != "" {
			return "tls.ca has no effect with tls.mode require: use verify-full"
		}
		c.tls.InsecureSkipVerify = true // what the mode says: encrypted against listeners, not against impostors
	case "disable":
		c.tls = nil
		for _, e := range c.Endpoints {
			if host, _, err := split(e); err == nil && !loopback(host) {
				return fmt.Sprintf("tls.mode disable is for loopback, and %q is not: use verify-full", e)
			}
		}
	default:
		return "tls.mode must be verify-full, require or disable"
	}
	return ""
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// split reads host:port.
func split(endpoint string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(endpoint)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err == nil && (n == 0 || host == "" || strings.ContainsAny(host, "/ ")) {
		err = fmt.Errorf("%q is not host:port", endpoint)
	}
	return host, uint16(n), err
}
