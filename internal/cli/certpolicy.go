package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// certPolicyFlags say how a certificate is made: by a file, by flags, or by a file of which flags change some.
type certPolicyFlags struct {
	file string
	x    api.CertificateX509
	key  api.CertificateKey
	by   api.CertificateIssuerRef
	// contentType is pfx or pem, or the whole type.
	contentType                                  string
	exportable, reuse                            bool
	renewAt, renewBefore, notifyAt, notifyBefore int
}

func (p *certPolicyFlags) flags(a *app, c *cobra.Command, vault *string) {
	f := c.Flags()
	f.StringVar(&p.file, "policy", "", "file with the policy, in YAML or JSON; - for standard input. Other flags count more")
	f.StringVar(&p.by.Name, "issuer", "", "who issues: Self, Unknown (you take the request to an authority) or an issuer of the vault")
	f.StringVar(&p.by.Type, "issuer-type", "", "the issuer's own word for a kind of certificate")
	f.StringVar(&p.x.Subject, "subject", "", "subject, such as \"CN=shop.example, O=Shop\"")
	f.StringSliceVar(&p.x.DNS, "dns", nil, "DNS names, with commas or more than once")
	f.StringSliceVar(&p.x.Emails, "email", nil, "e-mail addresses")
	f.StringSliceVar(&p.x.UPNs, "upn", nil, "user principal names")
	f.StringSliceVar(&p.x.Addresses, "ip", nil, "addresses of IP")
	f.StringSliceVar(&p.x.URIs, "uri", nil, "absolute URIs, such as spiffe://example.org/shop")
	f.StringSliceVar(&p.x.Purposes, "purpose", nil, "purposes: server, client, code-signing, email, time-stamping or object identifiers (default server,client)")
	f.StringSliceVar(&p.x.KeyUsage, "key-usage", nil, "key usages (default digitalSignature,keyEncipherment)")
	f.IntVar(&p.x.Months, "months", 0, "validity in months (default 12)")
	f.StringVar(&p.key.Type, "key-type", "", "RSA or EC, or either with -HSM (default RSA)")
	f.IntVar(&p.key.Bits, "bits", 0, "size of an RSA key: 2048, 3072, 4096 (default 2048)")
	f.StringVar(&p.key.Curve, "curve", "", "curve of an EC key: P-256, P-384, P-521 (default P-256)")
	f.BoolVar(&p.exportable, "exportable", true, "whether the private key is in the certificate's secret")
	f.BoolVar(&p.reuse, "reuse-key", false, "keep the key when the certificate is made anew")
	f.StringVar(&p.contentType, "content-type", "", "form of the certificate's secret: pfx or pem (default pfx)")
	f.IntVar(&p.renewAt, "renew-at", 0, "make it anew when so many per cent of its life are over (default 80)")
	f.IntVar(&p.renewBefore, "renew-before", 0, "make it anew so many days before it expires")
	f.IntVar(&p.notifyAt, "notify-at", 0, "tell the contacts when so many per cent of its life are over")
	f.IntVar(&p.notifyBefore, "notify-before", 0, "tell the contacts so many days before it expires")
	c.MarkFlagsMutuallyExclusive("renew-at", "renew-before")
	c.MarkFlagsMutuallyExclusive("notify-at", "notify-before")
	c.RegisterFlagCompletionFunc("issuer", a.offerAnyIssuer(vault))
	fixed := func(flag string, words ...string) {
		c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	fixed("key-type", "RSA", "EC", "RSA-HSM", "EC-HSM")
	fixed("curve", "P-256", "P-384", "P-521")
	fixed("content-type", "pfx", "pem")
	fixed("purpose", sortedPurposes()...)
}

// purposes are words for the common extended key usages (RFC 5280, section 4.2.1.12).
var purposes = map[string]string{"server": "1.3.6.1.5.5.7.3.1", "client": "1.3.6.1.5.5.7.3.2", "code-signing": "1.3.6.1.5.5.7.3.3", "email": "1.3.6.1.5.5.7.3.4",
	"time-stamping": "1.3.6.1.5.5.7.3.8"}

func sortedPurposes() (list []string) {
	for word := range purposes {
		list = append(list, word)
	}
	return sorted(list)
}

// certSections are the flags of each section.
var certSections = struct{ issuer, x509, key, actions []string }{
	issuer:  []string{"issuer", "issuer-type"},
	x509:    []string{"subject", "dns", "email", "upn", "purpose", "key-usage", "months"},
	key:     []string{"key-type", "bits", "curve", "exportable", "reuse-key"},
	actions: []string{"renew-at", "renew-before", "notify-at", "notify-before"},
}

// read returns the policy of the file with what the flags change of it; nil when nothing was given.
func (p *certPolicyFlags) read(a *app, c *cobra.Command) (*client.CertificatePolicy, error) {
	var policy *client.CertificatePolicy
	if p.file != "" {
		raw, err := a.readInput(p.file, maxPolicy)
		if err != nil {
			return nil, err
		}
		policy = &client.CertificatePolicy{}
		if err := decodeYAML(raw, policy); err != nil {
			return nil, err
		}
	}
	if !p.given(c) {
		return policy, nil
	}
	if policy == nil {
		policy = &client.CertificatePolicy{}
	}
	p.apply(c, policy)
	return policy, nil
}

func anyChanged(c *cobra.Command, names ...string) bool {
	return slices.ContainsFunc(names, c.Flags().Changed)
}

// given reports whether a flag says something of the policy.
func (p *certPolicyFlags) given(c *cobra.Command) bool {
	return anyChanged(c, slices.Concat(certSections.issuer, certSections.x509, certSections.key, certSections.actions, []string{"content-type"})...)
}

// apply changes a policy by the flags.
func (p *certPolicyFlags) apply(c *cobra.Command, policy *client.CertificatePolicy) {
	if anyChanged(c, certSections.issuer...) {
		p.applyIssuer(c, policy)
	}
	if anyChanged(c, certSections.x509...) {
		p.applyX509(c, policy)
	}
	if anyChanged(c, certSections.key...) {
		p.applyKey(c, policy)
	}
	if anyChanged(c, certSections.actions...) {
		policy.Actions = p.actions()
	}
	switch p.contentType {
	case "":
	case "pfx":
		policy.ContentType = "application/x-pkcs12"
	case "pem":
		policy.ContentType = "application/x-pem-file"
	default:
		policy.ContentType = p.contentType
	}
}

func (p *certPolicyFlags) applyIssuer(c *cobra.Command, policy *client.CertificatePolicy) {
	if policy.Issuer == nil || c.Flags().Changed("issuer") { // another issuer has other words
		policy.Issuer = &api.CertificateIssuerRef{Name: p.by.Name}
	}
	if c.Flags().Changed("issuer-type") {
		policy.Issuer.Type = p.by.Type
	}
}

func (p *certPolicyFlags) applyX509(c *cobra.Command, policy *client.CertificatePolicy) {
	x := api.CertificateX509{}
	if policy.X509 != nil {
		x = *policy.X509
	}
	f := c.Flags()
	for flag, set := range map[string]func(){
		"subject": func() { x.Subject = p.x.Subject }, "dns": func() { x.DNS = p.x.DNS }, "email": func() { x.Emails = p.x.Emails }, "upn": func() { x.UPNs = p.x.UPNs },
		"ip": func() { x.Addresses = p.x.Addresses }, "uri": func() { x.URIs = p.x.URIs },
		"key-usage": func() { x.KeyUsage = p.x.KeyUsage }, "months": func() { x.Months = p.x.Months },
		"purpose": func() {
			x.Purposes = nil
			for _, word := range p.x.Purposes {
				x.Purposes = append(x.Purposes, first(purposes[word], word))
			}
		},
	} {
		if f.Changed(flag) {
			set()
		}
	}
	policy.X509 = &x
}

func (p *certPolicyFlags) applyKey(c *cobra.Command, policy *client.CertificatePolicy) {
	k := api.CertificateKey{}
	if policy.Key != nil {
		k = *policy.Key
	}
	f := c.Flags()
	if f.Changed("key-type") || f.Changed("bits") || f.Changed("curve") { // a key of another type has none of what the one before had
		typ := k.Type
		switch {
		case f.Changed("key-type"):
			typ = p.key.Type
		case f.Changed("curve"):
			typ = "EC"
		case f.Changed("bits"):
			typ = "RSA"
		}
		k.Type, k.Bits, k.Curve = typ, p.key.Bits, p.key.Curve
	}
	if f.Changed("exportable") {
		k.Exportable = &p.exportable
	}
	if f.Changed("reuse-key") {
		k.Reuse = &p.reuse
	}
	policy.Key = &k
}

func (p *certPolicyFlags) actions() (list []api.CertificateAction) {
	if p.renewAt != 0 || p.renewBefore != 0 {
		list = append(list, api.CertificateAction{Percentage: p.renewAt, DaysBefore: p.renewBefore, Do: "AutoRenew"})
	}
	if p.notifyAt != 0 || p.notifyBefore != 0 {
		list = append(list, api.CertificateAction{Percentage: p.notifyAt, DaysBefore: p.notifyBefore, Do: "EmailContacts"})
	}
	return list
}

func (a *app) certPolicy(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Show and change how a certificate is made, and when it is made anew"}
	c.AddCommand(a.certPolicyShow(vault), a.certPolicySet(vault))
	return c
}

func (a *app) certPolicyShow(vault *string) *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show how a certificate is made, and when it is made anew", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			p, err := v.Certificates().Policy(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showCertPolicy(p)
		})}
}

func (a *app) showCertPolicy(p *client.CertificatePolicy) error {
	var actions []string
	for _, x := range p.Actions {
		at := strconv.Itoa(x.Percentage) + "%"
		if x.DaysBefore > 0 {
			at = strconv.Itoa(x.DaysBefore) + " days before"
		}
		actions = append(actions, x.Do+" "+at)
	}
	key := keyType(&client.Key{Type: p.Key.Type, Bits: p.Key.Bits, Curve: p.Key.Curve})
	names := slices.Concat(p.X509.DNS, p.X509.Emails, p.X509.UPNs, p.X509.Addresses, p.X509.URIs)
	return a.show(p, table{{"ISSUER", "SUBJECT", "NAMES", "MONTHS", "KEY", "SECRET", "ACTIONS"},
		{p.Issuer.Name, p.X509.Subject, strings.Join(names, " "), strconv.Itoa(p.X509.Months), key, p.ContentType, strings.Join(actions, ", ")}})
}

func (a *app) certPolicySet(vault *string) *cobra.Command {
	var policy certPolicyFlags
	c := &cobra.Command{Use: "set NAME", Short: "Change how a certificate is made from its next version on",
		Long: `Change how a certificate is made from its next version on. When it is made anew, and who is told, counts at once. Flags change what they say; a file
replaces every section that it has.`,
		Example: `  keywright cert policy set web --vault demo --issuer internal --renew-before 30
  keywright cert policy show web --vault demo --output yaml >web.yaml
  keywright cert policy set web --vault demo --policy web.yaml`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			in, err := policy.read(a, c)
			if err != nil {
				return err
			}
			if in == nil {
				return usage("nothing to change: give --policy FILE or other flags")
			}
			if policy.file == "" { // sections are replaced as a whole, and flags change parts of them
				if in, err = v.Certificates().Policy(c.Context(), args[0]); err != nil {
					return err
				}
				policy.apply(c, in)
			}
			p, err := v.Certificates().ChangePolicy(c.Context(), args[0], *in)
			if err != nil {
				return err
			}
			return a.showCertPolicy(p)
		})}
	policy.flags(a, c, vault)
	return c
}
