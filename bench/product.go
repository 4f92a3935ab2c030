package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// product is a running Keywright with what the benchmark put into it.
type product struct {
	child  *child
	env    map[string]string
	roots  *x509.CertPool
	client *http.Client
	// tokens belong to the principals, one each; secrets are the names that each of them reads, and ballast are those that it only writes.
	principal string
	tokens    []string
	secrets   [][]string
	ballast   [][]string
}

// startProduct starts the development server: it has on whatever a production server has.
func startProduct(binary, dir, durability string) (*product, error) {
	c, _, err := spawn("ready", binary, "dev", "--dir", dir, "--listen", "127.0.0.1:0", "--audit-durability", durability)
	if err != nil {
		return nil, err
	}
	p := &product{child: c}
	if err := p.readEnv(filepath.Join(dir, "dev.env")); err != nil {
		c.end()
		return nil, err
	}
	return p, nil
}

func (p *product) readEnv(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	p.env = make(map[string]string)
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		p.env[name] = value
	}
	if p.roots, err = pool(p.env["KEYWRIGHT_CA_FILE"]); err != nil {
		return err
	}
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots}, MaxIdleConnsPerHost: 64}}
	return nil
}

func pool(file string) (*x509.CertPool, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return roots, nil
}

func (p *product) target() *target {
	return &target{name: "keywright", address: p.env["KEYWRIGHT_ADDR"], host: p.env["KEYWRIGHT_ADDR"], roots: p.roots, pid: p.child.cmd.Process.Pid}
}

// token asks the token service for a token, for the vault or for another resource.
func (p *product) token(id, secret, resource string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {resource + "/.default"}}
	res, err := p.client.PostForm(p.env["AZURE_AUTHORITY_HOST"]+"/adfs/oauth2/token", form)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var reply struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the token endpoint answered %s: %w", res.Status, err)
	}
	return reply.Token, nil
}

// call sends a request with a token and returns the answer's body.
func (p *product) call(method, address, token, body string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := p.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s was answered with %s: %s", method, address, res.Status, bytes.TrimSpace(raw))
	}
	return res, raw, err
}

const apiVersion = "?api-version=7.6"

// value is what every secret holds; with its envelope an answer has the 433 bytes of the reference measurements.
var value = strings.Repeat("v", 128)

// fill stores secrets and makes principals that read them. Each principal has its own share. The case that only writes has as many secrets of its
// own: whoever reads what it wrote would be a consumer of a new version each time, which one read in a hundred is meant to be.
func (p *product) fill(secrets, principals int) (err error) {
	base := p.env["AZURE_KEYVAULT_URL"]
	_, rest, _ := strings.Cut(p.env["KEYWRIGHT_ADDR"], ".")
	resource := "https://" + rest
	p.secrets, p.ballast = make([][]string, principals), make([][]string, principals)
	for i := range principals {
		t, err := p.readerToken(i, resource)
		if err != nil {
			return fmt.Errorf("making principal %d: %w", i, err)
		}
		p.tokens = append(p.tokens, t)
	}
	if p.principal, err = objectID(p.tokens[0]); err != nil {
		return err
	}
	if err := p.makeElsewhere(); err != nil {
		return err
	}
	var work sync.WaitGroup
	errs := make([]error, principals)
	for i := range principals {
		for n := i; n < secrets; n += principals {
			p.secrets[i] = append(p.secrets[i], fmt.Sprintf("secret-%05d", n))
			p.ballast[i] = append(p.ballast[i], fmt.Sprintf("ballast-%05d", n))
		}
		work.Go(func() {
			for n, name := range p.secrets[i] {
				_, _, err := p.call("PUT", base+"/secrets/"+p.ballast[i][n]+apiVersion, p.tokens[i], `{"value":"`+value+`"}`)
				if err == nil {
					_, _, err = p.call("PUT", base+"/secrets/"+name+apiVersion, p.tokens[i], `{"value":"`+value+`"}`)
				}
				if err == nil { // the first read fills the cache and makes a consumer, which is not what is measured
					_, _, err = p.call("GET", base+"/secrets/"+name+apiVersion, p.tokens[i], "")
				}
				if err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	work.Wait()
	return errors.Join(append(errs, p.settle())...)
}

// settle waits until the ledger has taken in every read: a question for holders is answered only then.
func (p *product) settle() error {
	admin, err := p.admin()
	if err != nil {
		return err
	}
	for _, err := range admin.HeldBy(context.Background(), p.principal) {
		return err
	}
	return errors.New("the ledger shows nothing of what the first principal has read")
}

// readerToken makes a service principal that may read and write the vault's secrets and use its keys, and gets a token as it.
func (p *product) readerToken(n int, resource string) (string, error) {
	ctx := context.Background()
	admin, err := p.admin()
	if err != nil {
		return "", err
	}
	made, err := admin.CreatePrincipal(ctx, api.CreatePrincipal{Kind: api.ServicePrincipal, Name: fmt.Sprintf("reader-%d", n)})
	if err != nil {
		return "", err
	}
	secret, err := admin.AddCredential(ctx, made.ID, api.AddCredential{Kind: "secret", Name: "bench"})
	if err != nil {
		return "", err
	}
	scope := "/subscriptions/" + p.env["KEYWRIGHT_SUBSCRIPTION_ID"] + "/resourceGroups/" + p.env["KEYWRIGHT_RESOURCE_GROUP"] +
		"/providers/Microsoft.KeyVault/vaults/" + p.env["KEYWRIGHT_VAULT_NAME"]
	for _, role := range []string{"Key Vault Secrets Officer", "Key Vault Crypto Officer"} {
		if _, err := admin.CreateGrant(ctx, api.CreateGrant{Role: role, Principal: made.ID, Scope: scope}); err != nil {
			return "", err
		}
	}
	return p.token(made.AppID, secret.Secret.Reveal(), resource)
}

// admin returns a client of the one who may do everything.
func (p *product) admin() (*client.Client, error) {
	return client.New(client.Config{URL: p.env["KEYWRIGHT_URL"], HTTP: p.client, Tokens: client.NewClientSecret(
		client.Authority{URL: p.env["AZURE_AUTHORITY_HOST"], Tenant: p.env["AZURE_TENANT_ID"], HTTP: p.client},
		p.env["AZURE_CLIENT_ID"], p.env["AZURE_CLIENT_SECRET"], p.env["KEYWRIGHT_URL"])})
}

// objectID reads the caller's object id from a token's claims.
func objectID(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("the token has not three parts")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims struct {
		OID string `json:"oid"`
	}
	err = json.Unmarshal(raw, &claims)
	return claims.OID, err
}

// sample reads one secret and keeps its answer for the bare server.
func (p *product) sample(dir string) error {
	res, body, err := p.call("GET", p.env["AZURE_KEYVAULT_URL"]+"/secrets/"+p.secrets[0][0]+"/"+apiVersion, p.tokens[0], "")
	if err != nil {
		return err
	}
	s := sample{Header: res.Header, Body: body}
	delete(s.Header, "Date")
	raw, err := json.Marshal(&s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "sample.json"), raw, 0o600)
}

// get returns the bytes of a read, as the Azure SDKs send it.
func (p *product) get(principal int, name string) []byte {
	return p.request("GET", principal, name+"/", "")
}

func (p *product) set(principal int, name string) []byte {
	return p.request("PUT", principal, name, `{"value":"`+value+`"}`)
}

func (p *product) request(method string, principal int, path, body string) []byte {
	return p.requestTo(method, principal, "/secrets/"+path, body)
}

func (p *product) requestTo(method string, principal int, path, body string) []byte {
	return fmt.Appendf(nil, "%s %s%s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\nAuthorization: Bearer %s\r\n"+
		"Content-Length: %d\r\nContent-Type: application/json\r\nUser-Agent: azsdk-go-azsecrets/v1.5.1 (go1.26; linux)\r\n"+
		"X-Ms-Client-Request-Id: 3d3c6f0e-6a3f-4a83-9d4c-0f6f4a4f2a11\r\n\r\n%s", method, path, apiVersion, p.env["KEYWRIGHT_ADDR"],
		p.tokens[principal], len(body), body)
}

// reads prepares what each connection sends: reads in turn, and a write at every hundredth place when writes are wanted.
func (p *product) reads(connections int, beside bool) source {
	reads := p.prepare(connections, p.secrets, p.get)
	if !beside {
		return func(c, n int) []byte { return reads[c][(n*31)%len(reads[c])] }
	}
	writes := p.prepare(connections, p.secrets, p.set)
	return func(c, n int) []byte {
		if n%100 == 99 {
			return writes[c][(n*7)%len(writes[c])]
		}
		return reads[c][(n*31)%len(reads[c])]
	}
}

// writes prepares writes in turn.
func (p *product) writes(connections int) source {
	writes := p.prepare(connections, p.ballast, p.set)
	return func(c, n int) []byte { return writes[c][(n*7)%len(writes[c])] }
}

// prepare makes a request for each name of each connection's principal.
func (p *product) prepare(connections int, names [][]string, request func(principal int, name string) []byte) [][][]byte {
	all := make([][][]byte, connections)
	for c := range all {
		who := c % len(p.tokens)
		for _, name := range names[who] {
			all[c] = append(all[c], request(who, name))
		}
	}
	return all
}
