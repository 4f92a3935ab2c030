package arm

import (
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// listBody is a page of a listing.
type listBody struct {
	Value    any    `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

// emptyList is the answer for things of which there are none here.
var emptyList = listBody{Value: []struct{}{}}

type vaultBody struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	SystemData systemData        `json:"systemData"`
	Properties vaultProperties   `json:"properties"`
}

type systemData struct {
	CreatedAt      string `json:"createdAt"`
	LastModifiedAt string `json:"lastModifiedAt"`
}

type vaultProperties struct {
	SKU                          sku          `json:"sku"`
	TenantID                     string       `json:"tenantId"`
	AccessPolicies               []policyBody `json:"accessPolicies"`
	NetworkACLs                  *networkBody `json:"networkAcls,omitempty"`
	PublicNetworkAccess          string       `json:"publicNetworkAccess"`
	EnabledForDeployment         bool         `json:"enabledForDeployment"`
	EnabledForDiskEncryption     bool         `json:"enabledForDiskEncryption"`
	EnabledForTemplateDeployment bool         `json:"enabledForTemplateDeployment"`
	EnableSoftDelete             bool         `json:"enableSoftDelete"`
	SoftDeleteRetentionInDays    int          `json:"softDeleteRetentionInDays"`
	EnableRBACAuthorization      bool         `json:"enableRbacAuthorization"`
	EnablePurgeProtection        bool         `json:"enablePurgeProtection,omitempty"`
	VaultURI                     string       `json:"vaultUri"`
	ProvisioningState            string       `json:"provisioningState"`
}

type sku struct {
	Family string `json:"family"`
	Name   string `json:"name"`
}

type policyBody struct {
	TenantID      string          `json:"tenantId"`
	ObjectID      string          `json:"objectId"`
	ApplicationID string          `json:"applicationId,omitempty"`
	Permissions   permissionsBody `json:"permissions"`
}

type permissionsBody struct {
	Keys         []string `json:"keys"`
	Secrets      []string `json:"secrets"`
	Certificates []string `json:"certificates"`
	Storage      []string `json:"storage,omitempty"`
}

type networkBody struct {
	Bypass              string       `json:"bypass"`
	DefaultAction       string       `json:"defaultAction"`
	IPRules             []ipRule     `json:"ipRules"`
	VirtualNetworkRules []subnetRule `json:"virtualNetworkRules"`
}

type ipRule struct {
	Value string `json:"value"`
}

type subnetRule struct {
	ID                               string `json:"id"`
	IgnoreMissingVnetServiceEndpoint bool   `json:"ignoreMissingVnetServiceEndpoint,omitempty"`
}

func (h *handler) vaultBody(v *vault.Vault, host string) vaultBody {
	return vaultBody{ID: v.Scope(), Name: v.Name, Type: "Microsoft.KeyVault/vaults", Location: v.Location, Tags: notNil(v.Tags),
		SystemData: systemData{stamp(v.Created), stamp(v.Updated)},
		Properties: vaultProperties{
			SKU: skuOf(v), TenantID: string(v.Tenant), AccessPolicies: policyBodies(v.Policies), NetworkACLs: networkOf(v),
			PublicNetworkAccess:  choose(v.Network.PublicAccess, "Enabled", "Disabled"),
			EnabledForDeployment: v.EnabledForDeployment, EnabledForDiskEncryption: v.EnabledForDiskEncryption,
			EnabledForTemplateDeployment: v.EnabledForTemplateDeployment, EnableSoftDelete: true, SoftDeleteRetentionInDays: v.RetentionDays,
			EnableRBACAuthorization: v.Access == vault.AccessByRole, EnablePurgeProtection: v.PurgeProtection,
			VaultURI: h.VaultURL(v.Name, host), ProvisioningState: "Succeeded"}}
}

func skuOf(v *vault.Vault) sku { return sku{"A", choose(v.Premium, "premium", "standard")} }

func choose(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// networkOf returns the rules of a vault that has any: clients tell those that were never set by their absence.
func networkOf(v *vault.Vault) *networkBody {
	n := &v.Network
	if n.DefaultAllow && n.BypassTrusted && len(n.Addresses) == 0 && len(n.Subnets) == 0 {
		return nil
	}
	body := &networkBody{Bypass: choose(n.BypassTrusted, "AzureServices", "None"), DefaultAction: choose(n.DefaultAllow, "Allow", "Deny"),
		IPRules: []ipRule{}, VirtualNetworkRules: []subnetRule{}}
	for _, p := range n.Addresses {
		body.IPRules = append(body.IPRules, ipRule{p.String()})
	}
	for _, s := range n.Subnets {
		body.VirtualNetworkRules = append(body.VirtualNetworkRules, subnetRule{s.ID, s.IgnoreMissingService})
	}
	return body
}

func policyBodies(policies []vault.AccessPolicy) []policyBody {
	list := make([]policyBody, 0, len(policies))
	for i := range policies {
		p := &policies[i]
		list = append(list, policyBody{TenantID: string(p.Tenant), ObjectID: p.Principal, ApplicationID: p.Application, Permissions: permissionsBody{
			Keys: wireWords(p.Keys), Secrets: wireWords(p.Secrets), Certificates: wireWords(p.Certificates), Storage: p.Storage}})
	}
	return list
}

// wireWords writes permissions as the API does: the only ones with capitals are these two.
func wireWords(words []string) []string {
	list := make([]string, len(words))
	for i, w := range words {
		switch w {
		case "wrapkey":
			w = "wrapKey"
		case "unwrapkey":
			w = "unwrapKey"
		}
		list[i] = w
	}
	return list
}

func policyModels(bodies []policyBody) []vault.AccessPolicy {
	list := make([]vault.AccessPolicy, 0, len(bodies))
	for _, b := range bodies {
		list = append(list, vault.AccessPolicy{Tenant: vault.TenantID(strings.ToLower(b.TenantID)), Principal: b.ObjectID, Application: b.ApplicationID,
			Keys: b.Permissions.Keys, Secrets: b.Permissions.Secrets, Certificates: b.Permissions.Certificates, Storage: b.Permissions.Storage})
	}
	return list
}

// vaultInput is the body of PUT and PATCH.
type vaultInput struct {
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties *struct {
		SKU                          *sku          `json:"sku"`
		TenantID                     string        `json:"tenantId"`
		AccessPolicies               *[]policyBody `json:"accessPolicies"`
		CreateMode                   string        `json:"createMode"`
		NetworkACLs                  *networkBody  `json:"networkAcls"`
		PublicNetworkAccess          string        `json:"publicNetworkAccess"`
		EnabledForDeployment         *bool         `json:"enabledForDeployment"`
		EnabledForDiskEncryption     *bool         `json:"enabledForDiskEncryption"`
		EnabledForTemplateDeployment *bool         `json:"enabledForTemplateDeployment"`
		EnableSoftDelete             *bool         `json:"enableSoftDelete"`
		SoftDeleteRetentionInDays    *int          `json:"softDeleteRetentionInDays"`
		EnableRBACAuthorization      *bool         `json:"enableRbacAuthorization"`
		EnablePurgeProtection        *bool         `json:"enablePurgeProtection"`
	} `json:"properties"`
}

func (in *vaultInput) recovers() bool {
	return in.Properties != nil && strings.EqualFold(in.Properties.CreateMode, "recover")
}

func (in *vaultInput) spec() (s tenancy.VaultSpec, err error) {
	s.Location, s.Tags = in.Location, in.Tags
	p := in.Properties
	if p == nil {
		return s, nil
	}
	s.Tenant = vault.TenantID(strings.ToLower(p.TenantID))
	s.ForDeployment, s.ForDiskEncryption, s.ForTemplateDeployment = p.EnabledForDeployment, p.EnabledForDiskEncryption, p.EnabledForTemplateDeployment
	s.SoftDelete, s.RetentionDays, s.PurgeProtection = p.EnableSoftDelete, p.SoftDeleteRetentionInDays, p.EnablePurgeProtection
	if p.EnableRBACAuthorization != nil {
		s.Access = vault.AccessByPolicy
		if *p.EnableRBACAuthorization {
			s.Access = vault.AccessByRole
		}
	}
	if p.AccessPolicies != nil {
		models := policyModels(*p.AccessPolicies)
		s.Policies = &models
	}
	if s.Premium, err = p.SKU.premium(); err != nil {
		return s, err
	}
	if p.PublicNetworkAccess != "" {
		if s.PublicAccess, err = word("publicNetworkAccess", p.PublicNetworkAccess, "Enabled", "Disabled"); err != nil {
			return s, err
		}
	}
	s.Network, err = p.NetworkACLs.model()
	return s, err
}

// premium reads a SKU; nil when none is given.
func (s *sku) premium() (*bool, error) {
	if s == nil || s.Name == "" {
		return nil, nil
	}
	p, err := word("sku.name", s.Name, "premium", "standard")
	if err != nil || s.Family != "" && !strings.EqualFold(s.Family, "A") {
		return nil, fault.New(fault.Invalid, "the SKU %.20q of family %.20q does not exist: use standard or premium of family A", s.Name, s.Family).Because("SkuNotSupported")
	}
	return p, nil
}

// word reads one of two words: true for the first.
func word(member, s, yes, no string) (*bool, error) {
	is := strings.EqualFold(s, yes)
	if !is && !strings.EqualFold(s, no) {
		return nil, fault.New(fault.Invalid, "the property %q is %.40q: use %s or %s", member, s, yes, no)
	}
	return &is, nil
}

func (b *networkBody) model() (*vault.NetworkRules, error) {
	if b == nil {
		return nil, nil
	}
	n := vault.OpenNetwork()
	if b.Bypass != "" {
		bypass, err := word("networkAcls.bypass", b.Bypass, "AzureServices", "None")
		if err != nil {
			return nil, err
		}
		n.BypassTrusted = *bypass
	}
	if b.DefaultAction != "" {
		allow, err := word("networkAcls.defaultAction", b.DefaultAction, "Allow", "Deny")
		if err != nil {
			return nil, err
		}
		n.DefaultAllow = *allow
	}
	n.Addresses = make([]netip.Prefix, 0, len(b.IPRules))
	for _, rule := range b.IPRules {
		p, err := tenancy.ParseAddressRule(rule.Value)
		if err != nil {
			return nil, err
		}
		n.Addresses = append(n.Addresses, p)
	}
	for _, rule := range b.VirtualNetworkRules {
		n.Subnets = append(n.Subnets, vault.Subnet{ID: rule.ID, IgnoreMissingService: rule.IgnoreMissingVnetServiceEndpoint})
	}
	return &n, nil
}

// page reads $top and $skiptoken.
func page(r *door.Request) (p tenancy.Page, err error) {
	if top := r.Query("$top"); top != "" {
		if p.Limit, err = strconv.Atoi(top); err != nil || p.Limit < 1 {
			return p, fault.New(fault.Invalid, "$top is %.20q: give a number from 1", top)
		}
	}
	if token := r.Query("$skiptoken"); token != "" {
		after, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return p, fault.New(fault.Invalid, "$skiptoken is not one that a listing gave: begin the listing again")
		}
		p.After = string(after)
	}
	return p, nil
}

// nextLink returns the address of the page behind the key; empty when there is none.
func nextLink(r *door.Request, after string) string {
	if after == "" {
		return ""
	}
	q := r.HTTP.URL.Query()
	q.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(after)))
	return "https://" + r.HTTP.Host + r.HTTP.URL.EscapedPath() + "?" + q.Encode()
}
