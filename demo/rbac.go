package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// The Key Vault API reads and writes a secret under this version; the token endpoint is that of App Service:
// https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
const (
	vaultAPI    = "7.4"
	identityAPI = "2019-08-01"
)

// mayOnlyRead proves that the application's identity is what its role says, Key Vault Secrets User: with the
// identity's token the secret is read, and a change of it is refused. It uses plain HTTP, to have no client in between.
func (k *keywright) mayOnlyRead(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	client, err := k.client()
	if err != nil {
		return "", err
	}
	token, err := k.identityToken(ctx, client)
	if err != nil {
		return "", err
	}
	address := k.env["AZURE_KEYVAULT_URL"] + "/secrets/" + secretName + "?api-version=" + vaultAPI
	if status, err := call(ctx, client, http.MethodGet, address, token, nil, nil); status != http.StatusOK {
		return "", errors.Join(fmt.Errorf("reading the secret was answered with %d, not 200", status), err)
	}
	var refusal struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	status, err := call(ctx, client, http.MethodPut, address, token, []byte(`{"value":"an intruder was here"}`), &refusal)
	if status != http.StatusForbidden {
		return "", errors.Join(fmt.Errorf("changing the secret was answered with %d, not 403", status), err)
	}
	return fmt.Sprintf("reading gives 200, changing 403 %s", refusal.Error.Code), err
}

// client trusts dev mode's CA and nothing else, and uses no proxy: everything is on loopback.
func (k *keywright) client() (*http.Client, error) {
	ca, err := os.ReadFile(k.env["KEYWRIGHT_CA_FILE"])
	if err != nil {
		return nil, fmt.Errorf("reading dev mode's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", k.env["KEYWRIGHT_CA_FILE"])
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}, nil
}

func (k *keywright) identityToken(ctx context.Context, client *http.Client) (string, error) {
	query := url.Values{"api-version": {identityAPI}, "resource": {"https://" + publicSuffix}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.env["IDENTITY_ENDPOINT"]+"?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("X-IDENTITY-HEADER", k.env["IDENTITY_HEADER"])
	var reply struct {
		AccessToken string `json:"access_token"`
	}
	status, err := do(client, request, &reply)
	if err != nil || status != http.StatusOK || reply.AccessToken == "" {
		return "", errors.Join(fmt.Errorf("asking for the identity's token was answered with %d", status), err)
	}
	return reply.AccessToken, nil
}

func call(ctx context.Context, client *http.Client, method, address, token string, body []byte, into any) (int, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	return do(client, request, into)
}

// do returns the status and, when into is not nil, decodes the body, of at most 1 MiB. No error of it shows a value.
func do(client *http.Client, request *http.Request, into any) (status int, err error) {
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if into == nil {
		return response.StatusCode, nil
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(into); err != nil {
		return response.StatusCode, fmt.Errorf("reading the answer of %s %s: %w", request.Method, request.URL.Path, err)
	}
	return response.StatusCode, nil
}
