package dualkey

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// Versions of the interfaces that requests are written for.
const (
	storageAPI    = "2023-05-01"
	serviceBusAPI = "2021-11-01"
	eventHubsAPI  = "2024-01-01"
	// blobVersion is x-ms-version of the Blob service.
	blobVersion = "2021-12-02"
)

// sasTime is how long a token that a probe makes would be good.
const sasTime = 5 * time.Minute

// arm is Azure Resource Manager.
type arm struct {
	*web
	config *azureConfig
	token  redact.String
}

// authorize gets a token by the administrator's client credentials (RFC 6749, section 4.4), once for a verb.
func (a *arm) authorize(ctx context.Context) error {
	if a.token != "" {
		return nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {a.admin.Account}, "client_secret": {string(a.admin.Value.Reveal())},
		"scope": {strings.TrimSuffix(a.config.Manage, "/") + "/.default"}}
	answer, err := a.do(ctx, &request{method: http.MethodPost, url: strings.TrimSuffix(a.config.Login, "/") + "/" + url.PathEscape(a.config.Tenant) + "/oauth2/v2.0/token",
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body: []byte(form.Encode()), what: "getting a token"})
	if err != nil {
		return err
	}
	var got struct {
		Token string `json:"access_token"`
	}
	switch {
	case answer.Status == http.StatusBadRequest, answer.Status == http.StatusUnauthorized, answer.Status == http.StatusForbidden:
		return rotator.Fail(rotator.Denied, nil, "the authority refuses the administrator %q (status %d): check the client's secret and the tenant", a.admin.Account, answer.Status)
	case answer.Status != http.StatusOK:
		return rotator.Fail(rotator.NotApplied, nil, "the authority answered with status %d", answer.Status)
	case json.Unmarshal(answer.Body, &got) != nil || got.Token == "":
		return rotator.Fail(rotator.NotApplied, nil, "the authority answered with no token")
	}
	a.token = redact.String(got.Token)
	return nil
}

// post calls an action of a resource.
func (a *arm) post(ctx context.Context, path, version, what string, body any, effect bool, into any) error {
	if err := a.authorize(ctx); err != nil {
		return err
	}
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return rotator.Fail(rotator.NotApplied, err, "encoding a request")
		}
	}
	answer, err := a.good(ctx, &request{method: http.MethodPost, url: strings.TrimSuffix(a.config.Manage, "/") + path + "?api-version=" + version,
		header: http.Header{"Authorization": {"Bearer " + a.token.Reveal()}, "Content-Type": {"application/json"}}, body: text, effect: effect, what: what})
	if err != nil {
		return err
	}
	if into == nil {
		return nil
	}
	if json.Unmarshal(answer.Body, into) != nil { // its error may quote a key
		return rotator.Fail(rotator.NotApplied, nil, "Azure Resource Manager answered with something else than its JSON while %s", what)
	}
	return nil
}

// resource is the path of a resource.
func (a *arm) resource(provider string, names ...string) string {
	path := "/subscriptions/" + url.PathEscape(a.config.Subscription) + "/resourceGroups/" + url.PathEscape(a.config.ResourceGroup) + "/providers/" + provider
	for i := 0; i < len(names); i += 2 {
		path += "/" + names[i] + "/" + url.PathEscape(names[i+1])
	}
	return path
}

// data is the address at which keys are tried.
func (a *arm) data(account string) string {
	return strings.TrimSuffix(strings.NewReplacer("{account}", url.PathEscape(account), "{namespace}", url.PathEscape(a.config.Namespace)).Replace(a.config.Data), "/")
}

// storage is Azure Storage. https://learn.microsoft.com/rest/api/storagerp/storage-accounts/regenerate-key
type storage struct{ arm }

func (*storage) system() string  { return "Azure Storage (" + storageAPI + ")" }
func (*storage) slots() []string { return []string{"key1", "key2"} }
func (s *storage) path(account string) string {
	return s.resource("Microsoft.Storage", "storageAccounts", account)
}
func (s *storage) identity(account string) string { return "azure:" + strings.ToLower(s.path(account)) }

func (s *storage) list(ctx context.Context, account string) ([]rotator.Slot, error) {
	var got struct {
		Keys []struct {
			KeyName      string    `json:"keyName"`
			Value        string    `json:"value"`
			CreationTime time.Time `json:"creationTime"`
		} `json:"keys"`
	}
	if err := s.post(ctx, s.path(account)+"/listKeys", storageAPI, "listing the keys of "+fmt.Sprintf("%q", account), nil, false, &got); err != nil {
		return nil, err
	}
	var slots []rotator.Slot
	for _, name := range s.slots() { // others, such as kerb1, are not for clients
		for _, k := range got.Keys {
			if k.KeyName == name && k.Value != "" {
				slots = append(slots, rotator.Slot{Credential: rotator.Credential{Account: account, Slot: name, Value: redact.Bytes(k.Value)}, Created: k.CreationTime})
			}
		}
	}
	return both(slots, account)
}

func (s *storage) regenerate(ctx context.Context, account, slot string) error {
	return s.post(ctx, s.path(account)+"/regenerateKey", storageAPI, "regenerating "+slot+" of "+fmt.Sprintf("%q", account), map[string]string{"keyName": slot}, true, nil)
}

// login lists containers with a request that the key signs (SharedKey).
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
func (s *storage) login(ctx context.Context, c rotator.Credential) rotator.Login {
	base := s.data(c.Account)
	one := rotator.Login{Endpoint: at(base)}
	key, err := base64.StdEncoding.DecodeString(string(c.Value.Reveal()))
	if err != nil { // what is no base64 is no key; Azure would not accept it either, but that was not asked
		key = c.Value
	}
	u, err := url.Parse(base + "/?comp=list&maxresults=1")
	if err != nil {
		one.Detail = "the address of the data service cannot be used"
		return one
	}
	now := time.Now().UTC().Format(http.TimeFormat)
	text := "GET\n" + strings.Repeat("\n", 11) + "x-ms-date:" + now + "\nx-ms-version:" + blobVersion + "\n/" + c.Account + u.EscapedPath() + "\ncomp:list\nmaxresults:1"
	answer, err := s.do(ctx, &request{method: http.MethodGet, url: u.String(), what: "trying a key", header: http.Header{
		"X-Ms-Date": {now}, "X-Ms-Version": {blobVersion}, "Authorization": {"SharedKey " + c.Account + ":" + sign(key, text)}}})
	switch {
	case err != nil:
		one.Detail = err.Error()
	case answer.Status == http.StatusOK:
		one.Verdict, one.Identity = rotator.Accepted, s.identity(c.Account)
	case answer.Status == http.StatusForbidden && strings.Contains(string(answer.Body), "MAC signature"):
		// The same status stands for a clock that is wrong, a network rule, and keys that are switched off.
		one.Verdict, one.Detail = rotator.Rejected, "the signature is not that of either key"
	default:
		one.Detail = fmt.Sprintf("status %d %.60s", answer.Status, answer.Header.Get("X-Ms-Error-Code"))
	}
	return one
}

// bus is Azure Service Bus, or Event Hubs: an authorization rule of a namespace.
// https://learn.microsoft.com/rest/api/servicebus/controlplane-stable/namespaces-authorization-rules/regenerate-keys
type bus struct {
	arm
	kind string
}

func (b *bus) names() (provider, version, title, resources string) {
	if b.kind == kindEventHubs {
		return "Microsoft.EventHub", eventHubsAPI, "Azure Event Hubs", "eventhubs"
	}
	return "Microsoft.ServiceBus", serviceBusAPI, "Azure Service Bus", "queues"
}

func (b *bus) system() string {
	_, version, title, _ := b.names()
	return title + " (" + version + ")"
}
func (*bus) slots() []string { return []string{"PrimaryKey", "SecondaryKey"} }
func (b *bus) path(rule string) string {
	provider, _, _, _ := b.names()
	return b.resource(provider, "namespaces", b.config.Namespace, "authorizationRules", rule)
}
func (b *bus) identity(rule string) string { return "azure:" + strings.ToLower(b.path(rule)) }

func (b *bus) list(ctx context.Context, rule string) ([]rotator.Slot, error) {
	var got struct {
		Primary   string `json:"primaryKey"`
		Secondary string `json:"secondaryKey"`
	}
	_, version, _, _ := b.names()
	if err := b.post(ctx, b.path(rule)+"/listKeys", version, "listing the keys of "+fmt.Sprintf("%q", rule), nil, false, &got); err != nil {
		return nil, err
	}
	var slots []rotator.Slot
	for i, value := range []string{got.Primary, got.Secondary} {
		if value != "" {
			slots = append(slots, rotator.Slot{Credential: rotator.Credential{Account: rule, Slot: b.slots()[i], Value: redact.Bytes(value)}})
		}
	}
	return both(slots, rule)
}

func (b *bus) regenerate(ctx context.Context, rule, slot string) error {
	_, version, _, _ := b.names()
	return b.post(ctx, b.path(rule)+"/regenerateKeys", version, "regenerating "+slot+" of "+fmt.Sprintf("%q", rule), map[string]string{"keyType": slot}, true, nil)
}

// login lists entities of the namespace with a shared access signature, which needs the right Manage.
// https://learn.microsoft.com/rest/api/eventhub/generate-sas-token
func (b *bus) login(ctx context.Context, c rotator.Credential) rotator.Login {
	base := b.data(c.Account)
	one := rotator.Login{Endpoint: at(base)}
	_, _, _, resources := b.names()
	uri := url.QueryEscape(strings.ToLower(base))
	expiry := fmt.Sprint(time.Now().Add(sasTime).Unix())
	token := "SharedAccessSignature sr=" + uri + "&sig=" + url.QueryEscape(sign(c.Value, uri+"\n"+expiry)) + "&se=" + expiry + "&skn=" + url.QueryEscape(c.Account)
	answer, err := b.do(ctx, &request{method: http.MethodGet, url: base + "/$Resources/" + resources + "?$skip=0&$top=1&api-version=2017-04", what: "trying a key", header: http.Header{"Authorization": {token}}})
	switch {
	case err != nil:
		one.Detail = err.Error()
	case answer.Status == http.StatusOK:
		one.Verdict, one.Identity = rotator.Accepted, b.identity(c.Account)
	case answer.Status == http.StatusUnauthorized && (strings.Contains(string(answer.Body), "40103") || strings.Contains(string(answer.Body), "InvalidSignature")):
		one.Verdict, one.Detail = rotator.Rejected, "the signature is not that of either key (40103)"
	default:
		one.Detail = fmt.Sprintf("status %d: the rule needs the right Manage to be tried", answer.Status)
	}
	return one
}

// sign is HMAC-SHA256 in base64.
func sign(key []byte, text string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// both wants two keys: one that is not shown cannot be told from one that changed.
func both(slots []rotator.Slot, account string) ([]rotator.Slot, error) {
	if len(slots) != 2 {
		zero(slots)
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the service shows %d keys of %q and not two: check the administrator's right to list keys", len(slots), account)
	}
	return slots, nil
}
