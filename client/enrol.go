package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// EnrolRequest exchanges a one-time enrolment for the first credential of a principal's own. Who operates the server hands it out.
type EnrolRequest struct {
	// Code is the enrolment.
	Code []byte
	// Kind is what the principal gets: "secret" or "certificate" for an application, "totp" for a person.
	Kind string
	// Name is what the credential is called.
	Name string
	// Certificate is in PEM. Password is what a person will type beside the codes of its generator.
	Certificate, Password []byte
}

// Enrolled is a principal's first credential. It prints without the secret.
type Enrolled struct {
	Tenant   string `json:"tenantId"`
	ClientID string `json:"clientId,omitempty"`
	Username string `json:"userName,omitempty"`
	// Credential names it, KIND/ID.
	Credential string `json:"credential"`
	// Secret is a client secret, or the otpauth URL of a generator; empty for a certificate.
	Secret string `json:"secret,omitempty"`
}

// String returns everything but the secret.
func (e Enrolled) String() string {
	return e.Tenant + " " + e.ClientID + e.Username + " " + e.Credential
}

// GoString returns the same as String.
func (e Enrolled) GoString() string { return e.String() }

// Enrol exchanges an enrolment. It is used up when no error is returned, and only then.
func (a Authority) Enrol(ctx context.Context, in EnrolRequest) (*Enrolled, error) {
	target, err := a.endpoint("enrolment")
	if err != nil {
		return nil, err
	}
	form := url.Values{"enrolment": {strings.TrimSpace(string(in.Code))}, "kind": {in.Kind}, "name": {in.Name}, "certificate": {string(in.Certificate)}, "password": {string(in.Password)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := a.client().Do(req)
	if err != nil {
		return nil, connectionError(a.URL, err)
	}
	defer resp.Body.Close()
	var out struct {
		tokenAnswer
		Tenant     string `json:"tenant_id"`
		ClientID   string `json:"client_id"`
		Username   string `json:"username"`
		Credential string `json:"credential"`
		Secret     string `json:"client_secret"`
		TOTP       string `json:"totp"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(&out)
	if resp.StatusCode == http.StatusOK && err == nil && out.Credential != "" {
		return &Enrolled{Tenant: out.Tenant, ClientID: out.ClientID, Username: out.Username, Credential: out.Credential, Secret: out.Secret + out.TOTP}, nil
	}
	e := readError(resp)
	e.Reason, e.Message = out.Error, "enrolling failed: "+out.Description
	if out.Description == "" {
		e.Message = fmt.Sprintf("enrolling at %s failed: the token service answered %s", req.URL.Host, resp.Status)
	}
	if e.Reason == "invalid_grant" {
		e.Kind = Unauthenticated
	}
	return nil, e
}
