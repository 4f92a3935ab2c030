package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// CLIClientID is the client id of Keywright's command line, by which people sign in.
const CLIClientID = "6b7a0f3e-4c55-4c0d-9a52-2f0e6c1b7d11"

// DeviceCode is what a person needs to sign in on another device (RFC 8628).
type DeviceCode struct {
	// Code is typed at URL; Direct is URL with the code in it, and may be empty.
	Code, URL, Direct string
	Expires           time.Time
}

// Login signs a person in for one server, and keeps the sign-in in a file that only this user can read.
type Login struct {
	Authority Authority
	// Resource is the server's address.
	Resource string
	// Dir holds the sign-ins; see ConfigDir.
	Dir string
}

// deviceAnswer is the token service's answer to a device request (RFC 8628, section 3.2).
type deviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int    `json:"expires_in"`
	Interval   int    `json:"interval"`
}

// SignIn begins a sign-in, hands the code to show, and waits until the person has answered, the code expires or ctx ends.
func (l Login) SignIn(ctx context.Context, show func(DeviceCode)) error {
	d, err := l.begin(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	expires := now.Add(time.Duration(d.ExpiresIn) * time.Second)
	show(DeviceCode{Code: d.UserCode, URL: d.URI, Direct: d.Complete, Expires: expires})
	interval := time.Duration(max(d.Interval, 1)) * time.Second
	for {
		t := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		answer, err := l.Authority.post(ctx, "token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {CLIClientID},
			"device_code": {d.DeviceCode}})
		if err == nil {
			return l.keep(answer)
		}
		var e *Error
		if !errors.As(err, &e) {
			return err
		}
		switch e.Reason {
		case "authorization_pending":
		case "slow_down":
			interval += 5 * time.Second // RFC 8628, section 3.5
		default:
			return err
		}
		if time.Now().After(expires) {
			return errors.New("the code expired before it was used: sign in again")
		}
	}
}

func (l Login) begin(ctx context.Context) (d deviceAnswer, err error) {
	target, err := l.Authority.endpoint("devicecode")
	if err != nil {
		return d, err
	}
	form := url.Values{"client_id": {CLIClientID}, "scope": {scope(l.Resource) + " offline_access"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return d, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := l.Authority.client().Do(req)
	if err != nil {
		return d, connectionError(l.Authority.URL, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err == nil {
		err = json.Unmarshal(raw, &d)
	}
	if resp.StatusCode == http.StatusOK && err == nil && d.DeviceCode != "" && d.URI != "" {
		return d, nil
	}
	var refused tokenAnswer
	_ = json.Unmarshal(raw, &refused) // an answer that is no JSON has no description
	e := readError(resp)
	e.Reason, e.Message = refused.Error, "signing in could not begin: "+refused.Description
	return d, e
}

// signIn is what a file of a sign-in holds.
type signIn struct {
	Resource string    `json:"resource"`
	Refresh  string    `json:"refreshToken"`
	Access   string    `json:"accessToken"`
	Expires  time.Time `json:"expires"`
}

// path names the file of the server's sign-in, by a digest: an address is no file name.
func (l Login) path() string {
	sum := sha256.Sum256([]byte(strings.ToLower(l.Authority.URL + " " + l.Authority.Tenant + " " + l.Resource)))
	return filepath.Join(l.Dir, "login-"+hex.EncodeToString(sum[:8])+".json")
}

// keep replaces the file of the sign-in, whole or not at all.
func (l Login) keep(t tokenAnswer) error {
	token := t.token()
	raw, err := json.Marshal(signIn{Resource: l.Resource, Refresh: t.RefreshToken, Access: token.Access, Expires: token.Expires.UTC()})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return fmt.Errorf("keeping the sign-in: %w", err)
	}
	f, err := os.CreateTemp(l.Dir, ".login-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("keeping the sign-in: %w", err)
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keeping the sign-in: %w", err)
	}
	return os.Rename(f.Name(), l.path())
}

func (l Login) read() (s signIn, err error) {
	raw, err := os.ReadFile(l.path())
	if errors.Is(err, fs.ErrNotExist) {
		return s, ErrNoCredential
	}
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading the sign-in: %w; sign in again", err)
	}
	return s, nil
}

// SignOut forgets the sign-in. It reports whether there was one.
func (l Login) SignOut() (bool, error) {
	err := os.Remove(l.path())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Tokens returns the tokens of the sign-in, renewed as long as the server allows it. Without a sign-in it is ErrNoCredential.
func (l Login) Tokens() (TokenSource, error) {
	if _, err := l.read(); err != nil {
		return nil, err
	}
	var used string // the token of the file that was handed out: whoever asks again was refused with it
	return newRemembered(func(ctx context.Context) (Token, error) {
		s, err := l.read()
		if err != nil {
			return Token{}, err
		}
		if time.Until(s.Expires) > renewBefore && s.Access != used {
			used = s.Access
			return Token{Access: s.Access, Expires: s.Expires}, nil
		}
		if s.Refresh == "" {
			return Token{}, &Error{Kind: Unauthenticated, Message: "the sign-in has ended: sign in again"}
		}
		t, err := l.Authority.post(ctx, "token", url.Values{"grant_type": {"refresh_token"}, "client_id": {CLIClientID}, "refresh_token": {s.Refresh},
			"scope": {scope(l.Resource) + " offline_access"}})
		if err != nil {
			return Token{}, err
		}
		if t.RefreshToken == "" {
			t.RefreshToken = s.Refresh
		}
		return t.token(), l.keep(t)
	}), nil
}
