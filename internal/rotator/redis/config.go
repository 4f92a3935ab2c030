package redis

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator"
)

// config is the target's configuration.
type config struct {
	System       string   `json:"system"`
	Endpoints    []string `json:"endpoints"`
	TLS          string   `json:"tls"`
	CA           string   `json:"ca"`
	ServerName   string   `json:"serverName"`
	Ephemeral    bool     `json:"ephemeral"`
	AllowDefault bool     `json:"allowDefault"`
}

// The words of config.TLS.
const (
	tlsVerify = "verify"
	tlsOff    = "off"
)

var members = []rotator.Member{
	{Name: "system", Type: "string", Required: true, Help: "A name for this deployment, the same in every policy that reaches it, by whatever addresses: letters, digits, dots and dashes."},
	{Name: "endpoints", Type: "array of host:port", Required: true, Help: "All nodes, replicas and sentinels on which the user exists: lists do not replicate."},
	{Name: "tls", Type: "string", Help: "verify (the default) asks for TLS with a certificate that is valid for the server; off sends passwords in clear."},
	{Name: "ca", Type: "string", Help: "The certificates, in PEM, by which a server's certificate is verified, instead of the machine's own."},
	{Name: "serverName", Type: "string", Help: "The name in the servers' certificates, when it is not the host of the endpoint."},
	{Name: "ephemeral", Type: "boolean", Help: "Accepts servers that keep users nowhere: after a restart somebody else has to set the current password."},
	{Name: "allowDefault", Type: "boolean", Help: "Allows the user default, as whom everybody begins."},
}

var systemName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$`)

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
	if !systemName.MatchString(c.System) {
		wrong = append(wrong, "system is "+strconv.Quote(c.System)+": name the deployment with at most 63 letters, digits, dots and dashes")
	}
	if len(c.Endpoints) == 0 {
		wrong = append(wrong, "endpoints is empty: name every node, replica and sentinel as host:port")
	}
	for i, e := range c.Endpoints {
		if !isAddress(e) {
			wrong = append(wrong, "the endpoint "+strconv.Quote(e)+" is not host:port")
		}
		if slices.Contains(c.Endpoints[:i], e) {
			wrong = append(wrong, "the endpoint "+strconv.Quote(e)+" is there twice")
		}
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
	return wrong
}

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

// identity names an account of the deployment.
func (c *config) identity(account string) string { return name + ":" + c.System + "/" + account }

func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, errPort := strconv.ParseUint(port, 10, 16)
	return err == nil && errPort == nil && host != "" && n > 0
}
