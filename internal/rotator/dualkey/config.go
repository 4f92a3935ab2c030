package dualkey

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// Name is the word by which policies ask for this rotator.
const Name = "dualkey"

// Kinds of services.
const (
	kindStorage    = "azure-storage"
	kindServiceBus = "azure-service-bus"
	kindEventHubs  = "azure-event-hubs"
	kindHTTP       = "http"
)

// config is the target's part of a policy.
type config struct {
	Kind  string       `json:"kind"`
	TLS   endpoint.TLS `json:"tls"`
	Azure *azureConfig `json:"azure"`
	HTTP  *httpConfig  `json:"http"`
}

// azureConfig says where an account is in Azure. Addresses are those of the public cloud unless given.
type azureConfig struct {
	Tenant        string `json:"tenant"`
	Subscription  string `json:"subscription"`
	ResourceGroup string `json:"resourceGroup"`
	// Namespace is that of a Service Bus or Event Hubs; the account is then the name of an authorization rule.
	Namespace string `json:"namespace"`
	Login     string `json:"login"`
	Manage    string `json:"management"`
	// Data is where keys are tried; {account} and {namespace} stand for names.
	Data string `json:"data"`
}

// httpConfig describes a service of its own. In addresses and pointers, {account} and {slot} stand for names.
type httpConfig struct {
	// System names the service, however it is reached.
	System     string   `json:"system"`
	Slots      []string `json:"slots"`
	List       call     `json:"list"`
	Regenerate call     `json:"regenerate"`
	Login      call     `json:"login"`
	// Values is the JSON pointer (RFC 6901) to the value of a slot in the answer to List; Identity to the account's name in that to Login.
	Values   string `json:"values"`
	Identity string `json:"identity"`
	Auth     auth   `json:"auth"`
}

// call is one request.
type call struct {
	Method string `json:"method"`
	URL    string `json:"url"`
}

// auth says where the administrator's value, or a key that is tried, stands in a request.
type auth struct {
	// Header is Authorization unless given, Prefix what stands before the value, such as "Bearer ". Basic sends account and value as in RFC 7617.
	Header string `json:"header"`
	Prefix string `json:"prefix"`
	Basic  bool   `json:"basic"`
}

var members = []rotator.Member{
	{Name: "kind", Type: "azure-storage, azure-service-bus, azure-event-hubs or http", Required: true, Help: "What the service is."},
	{Name: "azure", Type: "{tenant, subscription, resourceGroup, namespace, login, management, data}", Help: "Where the account is in Azure; the last three are for other clouds than the public one."},
	{Name: "http", Type: "{system, slots, list, regenerate, login, values, identity, auth}", Help: "The requests of another service."},
	{Name: "tls", Type: "{ca, serverName}", Help: "Trusted certificates in PEM in place of the system's, and the server's name where it is not the host."},
}

func parse(raw json.RawMessage) (*config, error) {
	c := &config{}
	if err := rotator.Decode(Name, raw, c); err != nil {
		return nil, err
	}
	var m endpoint.Mistakes
	switch c.Kind {
	case kindStorage, kindServiceBus, kindEventHubs:
		if c.Azure == nil {
			m.Add("azure is missing: name tenant, subscription and resource group")
		} else {
			c.Azure.complete(&m, c.Kind)
		}
		if c.HTTP != nil {
			m.Add("http is for the kind http")
		}
	case kindHTTP:
		if c.HTTP == nil {
			m.Add("http is missing: write the requests of the service")
		} else {
			c.HTTP.complete(&m)
		}
		if c.Azure != nil {
			m.Add("azure is not for the kind http")
		}
	default:
		m.Add("kind is %q: write azure-storage, azure-service-bus, azure-event-hubs or http", c.Kind)
	}
	m.TLS(c.TLS, false)
	return c, m.Err(Name)
}

// segment is a name that stands in a path of Azure Resource Manager.
var segment = regexp.MustCompile(`^[\p{L}0-9_.()-]{1,90}$`)

func (a *azureConfig) complete(m *endpoint.Mistakes, kind string) {
	for _, one := range []struct{ member, value string }{{"tenant", a.Tenant}, {"subscription", a.Subscription}, {"resourceGroup", a.ResourceGroup}} {
		if !segment.MatchString(one.value) {
			m.Add("azure.%s is missing, or no name of Azure's", one.member)
		}
	}
	if needs := kind != kindStorage; needs && !segment.MatchString(a.Namespace) || !needs && a.Namespace != "" {
		m.Add("azure.namespace is for Service Bus and Event Hubs, and has to be given there")
	}
	fill := func(into *string, value string) {
		if *into == "" {
			*into = value
		}
	}
	fill(&a.Login, "https://login.microsoftonline.com")
	fill(&a.Manage, "https://management.azure.com")
	data := "https://{namespace}.servicebus.windows.net"
	if kind == kindStorage {
		data = "https://{account}.blob.core.windows.net"
	}
	fill(&a.Data, data)
	for _, one := range []struct{ member, value string }{{"login", a.Login}, {"management", a.Manage}, {"data", a.Data}} {
		checkURL(m, "azure."+one.member, one.value)
	}
}

func (h *httpConfig) complete(m *endpoint.Mistakes) {
	if h.System == "" {
		m.Add("http.system is missing: give the service a name, by which two secrets of one account are recognised")
	}
	if len(h.Slots) != 2 || h.Slots[0] == h.Slots[1] || slices.Contains(h.Slots, "") {
		m.Add("http.slots must name the two keys")
	}
	for _, one := range []struct {
		member, method string
		call           *call
	}{{"list", http.MethodGet, &h.List}, {"regenerate", http.MethodPost, &h.Regenerate}, {"login", http.MethodGet, &h.Login}} {
		if one.call.Method == "" {
			one.call.Method = one.method
		}
		if !regexp.MustCompile(`^[A-Z]+$`).MatchString(one.call.Method) {
			m.Add("http.%s.method is %q: write a method such as POST", one.member, one.call.Method)
		}
		checkURL(m, "http."+one.member+".url", one.call.URL)
	}
	if !strings.Contains(h.Regenerate.URL, "{slot}") {
		m.Add("http.regenerate.url has no {slot}: it would not be known which key dies")
	}
	for member, pointer := range map[string]string{"values": h.Values, "identity": h.Identity} {
		if !strings.HasPrefix(pointer, "/") {
			m.Add("http.%s must be a JSON pointer, such as /keys/{slot}/value", member)
		}
	}
	if !strings.Contains(h.Values, "{slot}") {
		m.Add("http.values has no {slot}: both keys would be the same")
	}
	if h.Auth.Header == "" {
		h.Auth.Header = "Authorization"
	}
	if h.Auth.Basic && h.Auth.Prefix != "" {
		m.Add("http.auth.basic and http.auth.prefix exclude each other")
	}
}

// checkURL notes an address that is not https, or has something secret in it.
func checkURL(m *endpoint.Mistakes, member, text string) {
	u, err := url.Parse(strings.NewReplacer("{account}", "a", "{slot}", "s", "{namespace}", "n").Replace(text))
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		m.Add("%s must be an https address without a user", member)
	}
}
