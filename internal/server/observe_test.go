package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/audit"
)

// caller sends requests to a server's listener with the rights of the development application.
type caller struct {
	t      testing.TB
	d      *Dev
	client *http.Client
	bearer string
}

// azure returns a caller of the vault's door.
func (d *Dev) azure(t testing.TB) *caller {
	_, resource, _ := strings.Cut(d.address(), ".")
	return &caller{t, d, d.httpClient(t), "Bearer " + d.token(t, "https://"+resource)}
}

// native returns a caller of the product's own API.
func (d *Dev) native(t testing.TB) *caller {
	return &caller{t, d, d.httpClient(t), "Bearer " + d.token(t, "https://"+d.address())}
}

// do sends one request and returns its answer with the body read.
func (c *caller) do(method, path, body string, headers ...string) (*http.Response, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "https://"+c.d.address()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", c.bearer)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := c.client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer, string(b)
}

// recordOf finds the audit record of an answer by its correlation id. The record of a change comes over the journal.
func (d *Dev) recordOf(t testing.TB, correlation string) *audit.Record {
	t.Helper()
	if _, err := d.core.audit.sequencer.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	for r, err := range d.core.audit.log.Query(t.Context(), audit.Filter{CorrelationID: correlation}) {
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	t.Fatalf("the audit log has no record of the request %s", correlation)
	return nil
}

func TestAuditRecordsTellOperationInstanceAndStatus(t *testing.T) {
	d := startDev(t, t.TempDir())
	azure, native := d.azure(t), d.native(t)
	const version = "?api-version=7.6"
	for _, c := range []struct {
		door         *caller
		method, path string
		body         string
		operation    string
		status       int
		outcome      audit.Outcome
	}{
		{azure, "PUT", "/secrets/one" + version, `{"value":"x"}`, "SecretSet", 200, audit.Allowed},
		{azure, "GET", "/secrets/one" + version, "", "SecretGet", 200, audit.Allowed},
		{azure, "GET", "/secrets/none" + version, "", "SecretGet", 404, audit.Failed},
		{azure, "PATCH", "/secrets/one" + version, `{"attributes":{"enabled":false}}`, "SecretUpdate", 200, audit.Allowed},
		{azure, "GET", "/secrets/one" + version, "", "SecretGet", 403, audit.Failed},
		{azure, "DELETE", "/secrets/one" + version, "", "SecretDelete", 200, audit.Allowed},
		{azure, "DELETE", "/deletedsecrets/one" + version, "", "SecretPurge", 204, audit.Allowed},
		{native, "GET", "/api/v1/vaults/demo/secrets/none", "", "SecretGet", 404, audit.Failed},
	} {
		answer, body := c.door.do(c.method, c.path, c.body, "X-Keywright-Instance", "pod-7")
		if answer.StatusCode != c.status {
			t.Fatalf("%s %s was answered with %d, want %d: %s", c.method, c.path, answer.StatusCode, c.status, body)
		}
		correlation := answer.Header.Get("X-Ms-Request-Id") + answer.Header.Get("X-Correlation-Id")
		r := d.recordOf(t, correlation)
		if r.Operation != c.operation || int(r.Status) != c.status || r.Instance != "pod-7" || r.Outcome != c.outcome {
			t.Errorf("%s %s: the record tells %s of %q with status %d, %s; want %s, %d, %s", c.method, c.path, r.Operation, r.Instance, r.Status,
				r.Outcome, c.operation, c.status, c.outcome)
		}
	}
}

func TestInstancesThatAreTooLongDeclareNothing(t *testing.T) {
	d := startDev(t, t.TempDir())
	answer, _ := d.azure(t).do("GET", "/secrets/none?api-version=7.6", "", "X-Keywright-Instance", strings.Repeat("x", 257))
	if r := d.recordOf(t, answer.Header.Get("X-Ms-Request-Id")); r.Instance != "" {
		t.Errorf("the record has an instance of %d bytes", len(r.Instance))
	}
}
