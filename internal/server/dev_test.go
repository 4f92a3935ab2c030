package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/redact"
)

type direct struct{ d *Dev }

func (c direct) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	var secret string
	for _, v := range c.d.env {
		if v.name == "AZURE_CLIENT_SECRET" {
			secret = v.value
		}
	}
	res := o.Scopes[0][:len(o.Scopes[0])-len("/.default")]
	tok, err := c.d.core.identity.ClientCredentials(ctx, identity.ClientRequest{Tenant: c.d.estate.Tenant, ClientID: c.d.estate.AppID, Secret: redact.String(secret), Resource: res})
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{Token: tok.Access.Reveal(), ExpiresOn: tok.Expires}, nil
}

func TestDev(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	d, err := StartDev(t.Context(), DevConfig{Config: Config{Dir: dir, AuditReserveBytes: 1 << 20, AuditSegmentBytes: 1 << 20}, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	pem, err := os.ReadFile(d.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	c, err := azsecrets.NewClient("https://"+d.address(), direct{d}, &azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: hc}})
	if err != nil {
		t.Fatal(err)
	}
	set, err := c.SetSecret(t.Context(), "db", azsecrets.SetSecretParameters{Value: to.Ptr("hällo \"x\"")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetSecret(t.Context(), "db", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Value != "hällo \"x\"" || *got.ID != *set.ID {
		t.Errorf("%+v %+v", got, set)
	}
	t.Log(*got.ID)
}
