package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/acme"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// providerACME is the provider of issuers whose settings name the authority's directory. The presets of package acme are providers of their own.
const providerACME = "ACME"

func isACME(provider string) bool {
	_, preset := acme.Presets()[strings.ToLower(provider)]
	return preset || strings.EqualFold(provider, providerACME)
}

func acmeProviders() []string {
	return append([]string{providerACME}, slices.Sorted(maps.Keys(acme.Presets()))...)
}

// The settings of an ACME issuer.
const (
	optDirectory     = "directory"     // the authority's https address; presets have one
	optContact       = "contact"       // addresses such as mailto:ops@example.com, with commas between them
	optAgree         = "agreeToTerms"  // "true": somebody has read the authority's terms and agrees
	optChallenge     = "challenge"     // the types of challenge that are preferred, with commas between them
	optRoots         = "roots"         // certificates in PEM that verify the authority's own server
	optPreferredRoot = "preferredRoot" // the common name of the root under which chains are to end
	optDNS           = "dns"           // how records are written: rfc2136 or webhook
	optDNSServer     = "dnsServer"     // rfc2136: the primary name server's host:port
	optDNSZone       = "dnsZone"       // rfc2136: the zone, when the server is not to be asked
	optDNSKey        = "dnsKey"        // rfc2136: the name of the key that signs updates
	optDNSAlgorithm  = "dnsAlgorithm"  // rfc2136: hmac-sha256, hmac-sha384 or hmac-sha512
	optDNSURL        = "dnsUrl"        // webhook: its address
	optDNSSecret     = "dnsSecret"     // rfc2136: the key in base64; webhook: the bearer token
	optDNSSettle     = "dnsSettle"     // how long a record takes to be everywhere, such as 30s
)

// dnsWebhook is the value of optDNS for records that a service writes.
const dnsWebhook = "webhook"

var acmeOptions = []string{optDirectory, optContact, optAgree, optChallenge, optRoots, optPreferredRoot, optDNS, optDNSServer, optDNSZone, optDNSKey, optDNSAlgorithm,
	optDNSURL, optDNSSecret, optDNSSettle}

// accounts are the ACME issuers that are in use, by vault and name: each holds connections, and remembers since when its records stand.
type accounts struct {
	mu   sync.Mutex
	open map[string]*account
}

type account struct {
	issuer *acme.Issuer
	// updated and key tell the settings that it was made of from later ones.
	updated time.Time
	key     redact.String
}

// maxAccounts bounds those in memory; beyond it all are opened anew.
const maxAccounts = 256

// account returns the issuer of an order's settings.
func (i *issuers) account(o cert.Order) (issuer.Issuer, error) {
	at := string(o.Vault.ID) + "/" + vault.NameKey(o.Settings.Name)
	i.accounts.mu.Lock()
	defer i.accounts.mu.Unlock()
	if a := i.accounts.open[at]; a != nil && a.updated.Equal(o.Settings.Updated) && a.key == o.Settings.AccountKey {
		return a.issuer, nil
	}
	made, err := i.openACME(o)
	if err != nil {
		return nil, err
	}
	if len(i.accounts.open) >= maxAccounts {
		clear(i.accounts.open)
	}
	i.accounts.open[at] = &account{made, o.Settings.Updated, o.Settings.AccountKey}
	return made, nil
}

// prepareACME makes the account's key, once for an issuer, and sees whether everything else is there.
func (i *issuers) prepareACME(o cert.Order) error {
	s := o.Settings
	if tokenMoves(o) {
		return fault.New(fault.Invalid, "the issuer %q cannot be used: %s is sent to the address in %s, so it is to be given again when that changes", s.Name, optDNSSecret, optDNSURL)
	}
	if s.AccountKey == "" {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return fault.Wrap(err, fault.Internal, "making the key of the account of the issuer %q", s.Name)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return fault.Wrap(err, fault.Internal, "encoding the key of the account of the issuer %q", s.Name)
		}
		defer clear(der)
		s.AccountKey = redact.String(der)
	}
	_, err := i.openACME(o)
	return err
}

// tokenMoves reports whether a webhook's token, which was not given again, would be sent to another address than before: whoever may change an issuer may not read what
// is sealed of it, and must not have it sent to a place of their own.
func tokenMoves(o cert.Order) bool {
	return slices.Contains(o.Kept, optDNSSecret) && isWebhook(o.Settings) && (!isWebhook(o.Before) || o.Before.Options[optDNSURL] != o.Settings.Options[optDNSURL])
}

func isWebhook(s *cert.Settings) bool { return strings.EqualFold(s.Options[optDNS], dnsWebhook) }

// openACME makes the issuer of settings. All of their mistakes are in one fault.Invalid.
func (i *issuers) openACME(o cert.Order) (*acme.Issuer, error) {
	p, s := &acmeSettings{settings{s: o.Settings}}, o.Settings
	c := p.config(i, o.Vault)
	made, err := acme.New(c)
	for line := range strings.Lines(message(err)) {
		p.wrong("%s", strings.TrimPrefix(strings.TrimSpace(line), "acme: "))
	}
	if len(p.mistakes) > 0 {
		return nil, fault.New(fault.Invalid, "the issuer %q cannot be used: %s", s.Name, strings.Join(p.mistakes, "; "))
	}
	return made, nil
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// acmeSettings reads the settings of an ACME issuer.
type acmeSettings struct{ settings }

func (p *acmeSettings) config(i *issuers, v *vault.Vault) acme.Config {
	p.known(acmeOptions)
	o := p.s.Options
	preset, isPreset := acme.Presets()[strings.ToLower(p.s.Provider)]
	may := func(ctx context.Context, name string) error { return i.provable(ctx, v, p.s.Name, name) }
	c := acme.Config{Directory: o[optDirectory], Contact: p.list(optContact), Prefer: p.list(optChallenge), PreferredRoot: o[optPreferredRoot], Clock: i.clock,
		Solvers: map[string]acme.Solver{"http-01": sharedSolver{&i.http, may}, "tls-alpn-01": sharedSolver{&i.alpn, may}}}
	if isPreset && c.Directory == "" {
		c.Directory = preset.Directory
	}
	// Whoever has an authority's credentials has agreed with it on terms when it gave them.
	c.AgreeToTerms = isPreset && preset.BindsAccounts && p.s.Account != ""
	if text, ok := o[optAgree]; ok {
		agrees, err := strconv.ParseBool(text)
		if err != nil {
			p.wrong("%s is true or false", optAgree)
		}
		c.AgreeToTerms = agrees
	}
	switch {
	case p.s.Account != "" || p.s.Password != "":
		// Padding is dropped: some authorities show the key with it.
		c.Binding = &acme.Binding{KeyID: p.s.Account, MACKey: redact.String(strings.TrimRight(p.s.Password.Reveal(), "="))}
	case isPreset && preset.BindsAccounts:
		p.wrong("%s serves its customers alone: give the key id of the external account binding as the account, and its MAC key as the password", preset.Title)
	}
	if pem := o[optRoots]; pem != "" {
		c.Roots = x509.NewCertPool()
		if !c.Roots.AppendCertsFromPEM([]byte(pem)) {
			p.wrong("%s holds no certificate in PEM", optRoots)
		}
	}
	key, err := accountKey(p.s)
	if err != nil {
		p.wrong("%v", err)
	}
	c.Key = key
	if solver := p.dns(i.clock); solver != nil {
		c.Solvers["dns-01"] = solver
	}
	return c
}

func accountKey(s *cert.Settings) (crypto.Signer, error) {
	der := []byte(s.AccountKey.Reveal())
	defer clear(der)
	key, err := x509.ParsePKCS8PrivateKey(der)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("the key of its account cannot be read: delete the issuer and set it up again")
	}
	return signer, nil
}

// dns is the solver that writes records; nil without one.
func (p *acmeSettings) dns(c clock.Clock) acme.Solver {
	o, secret := p.s.Options, p.s.Secrets[optDNSSecret]
	var provider acme.Provider
	var err error
	switch kind := strings.ToLower(o[optDNS]); kind {
	case "":
		for _, name := range acmeOptions {
			if strings.HasPrefix(name, optDNS) && (o[name] != "" || p.s.Secrets[name] != "") {
				p.wrong("%s is given without %s: say rfc2136 or webhook there", name, optDNS)
			}
		}
		return nil
	case "rfc2136":
		provider, err = asProvider(acme.NewRFC2136(acme.RFC2136Config{Server: o[optDNSServer], Zone: o[optDNSZone], KeyName: o[optDNSKey], KeySecret: secret,
			KeyAlgorithm: o[optDNSAlgorithm]}))
	case dnsWebhook:
		provider, err = asProvider(acme.NewWebhook(acme.WebhookConfig{URL: o[optDNSURL], Token: secret}))
	default:
		err = fmt.Errorf("records are not written by %q: use rfc2136 or webhook", fault.Clip(kind))
	}
	var settle time.Duration
	if text := o[optDNSSettle]; text != "" {
		var bad error
		if settle, bad = time.ParseDuration(text); bad != nil || settle < 0 || settle > time.Hour {
			p.wrong("%s is a duration of up to an hour, such as 30s", optDNSSettle)
			settle = 0
		}
	}
	var solver *acme.DNS01
	if err == nil {
		solver, err = acme.NewDNS01(provider, settle, c)
	}
	if err != nil {
		p.wrong("%s", strings.TrimPrefix(err.Error(), "acme: "))
		return nil
	}
	return solver
}

// asProvider keeps a nil pointer from becoming a provider.
func asProvider[P acme.Provider](p P, err error) (acme.Provider, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}
