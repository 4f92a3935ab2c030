package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
)

// recordTTL is how long a challenge's record may be cached, in seconds: it lives for minutes.
const recordTTL = 60

// dnsTimeout bounds one exchange with a name server.
const dnsTimeout = 10 * time.Second

// tsigFudge is how far the clocks of both sides may be apart, in seconds (RFC 8945, section 10).
const tsigFudge = 300

// RFC2136Config is a name server that takes dynamic updates.
type RFC2136Config struct {
	// Server is the primary server's host:port. Required.
	Server string
	// Zone is where records are written; empty asks the server, from the name upwards.
	Zone string
	// KeyName, KeySecret (base64) and KeyAlgorithm sign updates (TSIG, RFC 8945). The algorithm is hmac-sha256 unless it says hmac-sha384 or hmac-sha512. Updates without a key are
	// only sent to a loopback address.
	KeyName      string
	KeySecret    redact.String
	KeyAlgorithm string
}

// RFC2136 writes records by dynamic updates (RFC 2136), over TCP.
type RFC2136 struct {
	config    RFC2136Config
	algorithm string
}

var (
	_ Provider = (*RFC2136)(nil)
	_ Checker  = (*RFC2136)(nil)
)

// NewRFC2136 returns a provider.
func NewRFC2136(config RFC2136Config) (*RFC2136, error) {
	host, _, err := net.SplitHostPort(config.Server)
	if err != nil {
		return nil, fmt.Errorf("acme: the name server is no host:port: %w", err)
	}
	algorithms := map[string]string{"": dns.HmacSHA256, "hmac-sha256": dns.HmacSHA256, "hmac-sha384": dns.HmacSHA384, "hmac-sha512": dns.HmacSHA512}
	algorithm, ok := algorithms[strings.ToLower(config.KeyAlgorithm)]
	if !ok {
		return nil, fmt.Errorf("acme: updates are not signed with %q: use hmac-sha256, hmac-sha384 or hmac-sha512", config.KeyAlgorithm)
	}
	if (config.KeyName == "") != (config.KeySecret == "") {
		return nil, errors.New("acme: the name of a key and its secret go together")
	}
	if ip := net.ParseIP(host); config.KeyName == "" && (ip == nil || !ip.IsLoopback()) {
		return nil, errors.New("acme: updates without a key are only sent to a loopback address")
	}
	if config.KeyName != "" {
		config.KeyName = dns.CanonicalName(config.KeyName)
	}
	if config.Zone != "" {
		config.Zone = dns.CanonicalName(config.Zone)
	}
	return &RFC2136{config, algorithm}, nil
}

// Set adds a record to those of its name.
func (p *RFC2136) Set(ctx context.Context, name, value string) error {
	return p.update(ctx, name, func(m *dns.Msg) { m.Insert([]dns.RR{record(name, value)}) })
}

// Remove takes one record away.
func (p *RFC2136) Remove(ctx context.Context, name, value string) error {
	return p.update(ctx, name, func(m *dns.Msg) { m.Remove([]dns.RR{record(name, value)}) })
}

func record(name, value string) dns.RR {
	return &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: recordTTL}, Txt: []string{value}}
}

func (p *RFC2136) update(ctx context.Context, name string, change func(*dns.Msg)) error {
	zone, err := p.zone(ctx, name)
	if err != nil {
		return err
	}
	m := new(dns.Msg)
	m.SetUpdate(zone)
	change(m)
	if p.config.KeyName != "" {
		m.SetTsig(p.config.KeyName, p.algorithm, tsigFudge, time.Now().Unix())
	}
	reply, err := p.exchange(ctx, m)
	if err != nil {
		return err
	}
	switch reply.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeServerFailure:
		return fault.New(fault.Unavailable, "the name server %s failed to change %s", p.config.Server, name)
	default:
		return fault.New(fault.Forbidden, "the name server %s refuses to change %s (%s): allow the key %s to update TXT records there", p.config.Server, name,
			dns.RcodeToString[reply.Rcode], p.config.KeyName)
	}
}

// Check asks the server itself, not a resolver, which could remember that there was nothing.
func (p *RFC2136) Check(ctx context.Context, name, value string) (bool, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeTXT)
	m.RecursionDesired = false
	reply, err := p.exchange(ctx, m)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(reply.Answer, func(rr dns.RR) bool {
		txt, ok := rr.(*dns.TXT)
		return ok && strings.Join(txt.Txt, "") == value
	}), nil
}

// zone finds the zone of a name: the closest one above for which the server has a start of authority.
func (p *RFC2136) zone(ctx context.Context, name string) (string, error) {
	if p.config.Zone != "" {
		return p.config.Zone, nil
	}
	for _, i := range dns.Split(name) {
		m := new(dns.Msg)
		m.SetQuestion(name[i:], dns.TypeSOA)
		m.RecursionDesired = false
		reply, err := p.exchange(ctx, m)
		if err != nil {
			return "", err
		}
		for _, rr := range reply.Answer {
			if soa, ok := rr.(*dns.SOA); ok && reply.Authoritative && strings.EqualFold(soa.Hdr.Name, name[i:]) {
				return name[i:], nil
			}
		}
	}
	return "", fault.New(fault.Invalid, "the name server %s has no zone for %s: name the zone, or another server", p.config.Server, name)
}

func (p *RFC2136) exchange(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	client := &dns.Client{Net: "tcp", Timeout: dnsTimeout}
	if p.config.KeyName != "" && m.IsTsig() != nil {
		client.TsigSecret = map[string]string{p.config.KeyName: p.config.KeySecret.Reveal()}
	}
	reply, _, err := client.ExchangeContext(ctx, m, p.config.Server)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the name server %s gives no answer that can be trusted: check its address, the key and the clocks", p.config.Server)
	}
	return reply, nil
}
