package server

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// providerCA is the provider of issuers that sign with the key of a certificate of their vault.
const providerCA = "Keywright CA"

func isCA(provider string) bool { return strings.EqualFold(provider, providerCA) }

// The settings of an issuer of the provider Keywright CA.
const (
	optCertificate = cert.AuthorityOption      // the certificate of the vault that signs
	optIn          = cert.AuthorityVaultOption // the vault of the tenant in which that is; the issuer's own when absent
	optProfile     = "profile"                 // the kind of certificate for policies that name none (cty); defaultProfile when empty
	optMaxDays     = "maxDays"                 // the longest life of a leaf
	optCRLURLs     = "crlUrls"                 // where certificates say that the revocation list is, with commas between; "none" for nowhere
	optOCSPURLs    = "ocspUrls"                // the same of the responder
	optIssuerURLs  = "issuerUrls"              // the same of the authority's certificate
	optPermitted   = "permittedNames"          // domains and networks that intermediates may certify, with commas between
	optExcluded    = "excludedNames"           // those that they may not
)

var caOptions = []string{optCertificate, optIn, optProfile, optMaxDays, optCRLURLs, optOCSPURLs, optIssuerURLs, optPermitted, optExcluded}

// defaultProfile serves servers and clients: it has the purposes that policies have by default.
const defaultProfile = "mutual"

// authorities are the internal authorities that are in use, each opened with a rehearsal of its own.
type authorities struct {
	mu   sync.Mutex
	open map[string]*openedCA
	// plain is the address of the plain listener, such as http://127.0.0.1:8080; empty until there is one.
	plain atomic.Pointer[string]
}

// listensAt says where authorities are asked over plain http.
func (a *authorities) listensAt(url string) { a.plain.Store(&url) }

// listensNowhere says that there is no plain listener: authorities name no place but those of their settings.
func (a *authorities) listensNowhere() { a.listensAt("") }

type openedCA struct {
	ca      *internalca.CA
	version vault.VersionID
	updated time.Time
}

// ca returns the authority of an order's settings. Whether its certificate may still sign is looked at each time.
func (i *issuers) ca(ctx context.Context, o cert.Order) (issuer.Issuer, error) {
	a, err := o.Authority(ctx, o.Settings.Options[optCertificate])
	if err != nil {
		return nil, err
	}
	if i.authorities.plain.Load() == nil {
		return nil, fault.New(fault.Unavailable, "the server is starting, and does not know yet where its authorities are asked")
	}
	at := string(o.Vault.ID) + "/" + vault.NameKey(o.Settings.Name)
	i.authorities.mu.Lock()
	defer i.authorities.mu.Unlock()
	if c := i.authorities.open[at]; c != nil && c.version == a.Version && c.updated.Equal(o.Settings.Updated) {
		return c.ca, nil
	}
	ca, err := i.openCA(o, a)
	if err != nil {
		return nil, err
	}
	if len(i.authorities.open) >= maxAccounts {
		clear(i.authorities.open)
	}
	i.authorities.open[at] = &openedCA{ca, a.Version, o.Settings.Updated}
	return ca, nil
}

// prepareCA sees whether an authority can be made of settings.
func (i *issuers) prepareCA(ctx context.Context, o cert.Order) error {
	if o.Settings.Options[optCertificate] == "" {
		return fault.New(fault.Invalid, "the issuer %q cannot be used: the setting %s is to name the certificate of this vault that signs; make one with the issuer Self of the type %s",
			o.Settings.Name, optCertificate, cert.RootType)
	}
	a, err := o.Authority(ctx, o.Settings.Options[optCertificate])
	if err == nil {
		_, err = i.openCA(o, a)
	}
	return err
}

// openCA makes the authority. All mistakes of its settings are in one fault.Invalid.
func (i *issuers) openCA(o cert.Order, a *cert.Authority) (*internalca.CA, error) {
	p := &caSettings{settings{s: o.Settings}}
	p.known(caOptions)
	records, err := i.records(a.Vault, o.Settings.Options[optCertificate], a)
	if err != nil {
		return nil, err
	}
	c := internalca.Config{Certificate: a.Chain[0], Parents: a.Chain[1:], Key: a.Key, Profiles: p.profiles(), Default: o.Settings.Options[optProfile], Records: records, Clock: i.clock,
		CRLURLs: p.urls(optCRLURLs, i.place(a.Version, crlPath)), OCSPURLs: p.urls(optOCSPURLs, i.place(a.Version, ocspPath)), IssuerURLs: p.urls(optIssuerURLs, i.place(a.Version, certPath))}
	if c.Default == "" {
		c.Default = defaultProfile
	}
	ca, err := internalca.New(c)
	for line := range strings.Lines(message(err)) {
		p.wrong("%s", strings.TrimPrefix(strings.TrimSpace(line), "internalca: "))
	}
	if len(p.mistakes) > 0 {
		return nil, fault.New(fault.Invalid, "the issuer %q cannot be used: %s", o.Settings.Name, strings.Join(p.mistakes, "; "))
	}
	return ca, nil
}

// records are what an authority has issued.
func (i *issuers) records(v *vault.Vault, name string, a *cert.Authority) (internalca.Records, error) {
	return internalca.NewStored(internalca.StoredConfig{Store: i.store, Clock: i.clock,
		Authority: store.Authority{ID: string(a.Version), Tenant: v.Tenant, Vault: v.ID, NameKey: vault.NameKey(name), Version: a.Version}})
}

// place is where an authority is asked for something; empty without a plain listener.
func (i *issuers) place(id vault.VersionID, what string) string {
	plain := i.authorities.plain.Load()
	if plain == nil || *plain == "" {
		return ""
	}
	return *plain + authorityPath + string(id) + what
}

// caSettings reads the settings of an internal authority.
type caSettings struct{ settings }

// urls are the addresses of a setting, or the usual one.
func (p *caSettings) urls(name, usual string) []string {
	switch given := p.list(name); {
	case slices.Equal(given, []string{"none"}):
		return nil
	case len(given) == 0 && usual != "":
		return []string{usual}
	default:
		return given
	}
}

// mostDays is the longest life that a setting can ask for.
const mostDays = 3650

// profiles are the usual ones within the settings' bounds.
func (p *caSettings) profiles() map[string]internalca.Profile {
	profiles := internalca.Profiles()
	if text := p.s.Options[optMaxDays]; text != "" {
		days, err := strconv.Atoi(text)
		if err != nil || days < 1 || days > mostDays {
			p.wrong("%s is a number of days from 1 to %d", optMaxDays, mostDays)
			days = mostDays
		}
		for name, profile := range profiles {
			if !profile.CA {
				profile.MaxLifetime = min(profile.MaxLifetime, time.Duration(days)*24*time.Hour)
				profiles[name] = profile
			}
		}
	}
	intermediate := profiles[cert.IntermediateType]
	intermediate.Constraints = p.constraints()
	profiles[cert.IntermediateType] = intermediate
	return profiles
}

// constraints are the names that intermediates may certify; nil when they are free.
func (p *caSettings) constraints() *internalca.Constraints {
	c := &internalca.Constraints{}
	p.names(optPermitted, &c.PermittedDNS, &c.PermittedIP)
	p.names(optExcluded, &c.ExcludedDNS, &c.ExcludedIP)
	if len(c.PermittedDNS)+len(c.PermittedIP)+len(c.ExcludedDNS)+len(c.ExcludedIP) == 0 {
		return nil
	}
	return c
}

// names sorts a setting's members into domains and networks.
func (p *caSettings) names(option string, domains *[]string, networks *[]*net.IPNet) {
	for _, member := range p.list(option) {
		if !strings.Contains(member, "/") {
			if err := checkDomain(member); err != nil {
				p.wrong("%s: %v", option, err)
			}
			*domains = append(*domains, member)
			continue
		}
		_, network, err := net.ParseCIDR(member)
		if err != nil {
			p.wrong("%s: %q is no network such as 10.0.0.0/8", option, fault.Clip(member))
			continue
		}
		*networks = append(*networks, network)
	}
}

// checkDomain refuses what no certificate may be constrained to (RFC 5280, section 4.2.1.10: a host name, and no address or pattern).
func checkDomain(name string) error {
	bad := strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.'
	})
	if bad || net.ParseIP(name) != nil || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
		return errors.New(strconv.Quote(fault.Clip(name)) + " is no domain such as example.com, which stands for everything below it, too")
	}
	return nil
}
