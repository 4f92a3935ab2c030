package mysql

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator"
)

// config is the target's configuration.
type config struct {
	Endpoints       []string `json:"endpoints"`
	Replicas        []string `json:"replicas"`
	TLS             string   `json:"tls"`
	CA              string   `json:"ca"`
	ServerName      string   `json:"serverName"`
	Plugin          string   `json:"plugin"`
	AllowPrivileged bool     `json:"allowPrivileged"`
}

// The words of config.TLS.
const (
	tlsVerify = "verify"
	tlsOff    = "off"
)

var members = []rotator.Member{
	{Name: "endpoints", Type: "array of host:port", Required: true, Help: "The servers where passwords are changed: one for each group of servers that replicate from it."},
	{Name: "replicas", Type: "array of host:port", Help: "The servers that get the change by replication: they are probed and their sessions count."},
	{Name: "tls", Type: "string", Help: "verify (the default) asks for TLS with a certificate that is valid for the server; off sends logins over the bare network."},
	{Name: "ca", Type: "string", Help: "The certificates, in PEM, by which a server's certificate is verified, instead of the machine's own."},
	{Name: "serverName", Type: "string", Help: "The name in the servers' certificates, when it is not the host of the endpoint."},
	{Name: "plugin", Type: "string", Help: "The authentication plugin for new passwords, mysql_native_password, ed25519 or caching_sha2_password; without it a row keeps its own."},
	{Name: "allowPrivileged", Type: "boolean", Help: "Allows accounts with administrative rights, such as root."},
}

func parse(raw json.RawMessage) (*config, error) {
	var c config
	if err := rotator.Decode(name, raw, &c); err != nil {
		return nil, err
	}
	if wrong := c.mistakes(); len(wrong) > 0 {
		return nil, fault.New(fault.Invalid, "the configuration of the %s target is wrong: %s", name, strings.Join(wrong, "; "))
	}
	return &c, nil
}

func (c *config) mistakes() (wrong []string) {
	if len(c.Endpoints) == 0 {
		wrong = append(wrong, "endpoints is empty: name at least one server as host:port")
	}
	seen := map[string]bool{}
	for _, e := range c.all() {
		if !isAddress(e) {
			wrong = append(wrong, "the endpoint "+strconv.Quote(e)+" is not host:port")
		}
		if seen[e] {
			wrong = append(wrong, "the endpoint "+strconv.Quote(e)+" is there twice")
		}
		seen[e] = true
	}
	if !slices.Contains([]string{"", tlsVerify, tlsOff}, c.TLS) {
		wrong = append(wrong, "tls is "+strconv.Quote(c.TLS)+": use verify or off")
	}
	if c.TLS == tlsOff && (c.CA != "" || c.ServerName != "") {
		wrong = append(wrong, "ca and serverName have no use with tls off")
	}
	if c.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(c.CA)) {
		wrong = append(wrong, "ca has no certificate in PEM")
	}
	if c.Plugin != "" && hashers[c.Plugin] == nil {
		wrong = append(wrong, "plugin is "+strconv.Quote(c.Plugin)+": use mysql_native_password, ed25519 or caching_sha2_password")
	}
	return wrong
}

// all are the servers that are probed.
func (c *config) all() []string { return slices.Concat(c.Endpoints, c.Replicas) }

// tlsFor returns nil for a bare connection.
func (c *config) tlsFor(endpoint string) *tls.Config {
	if c.TLS == tlsOff {
		return nil
	}
	host, _, _ := net.SplitHostPort(endpoint)
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if c.ServerName != "" {
		t.ServerName = c.ServerName
	}
	if c.CA != "" {
		t.RootCAs = x509.NewCertPool()
		t.RootCAs.AppendCertsFromPEM([]byte(c.CA))
	}
	return t
}

func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, errPort := strconv.ParseUint(port, 10, 16)
	return err == nil && errPort == nil && host != "" && n > 0
}
