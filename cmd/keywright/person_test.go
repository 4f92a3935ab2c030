package main

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/rogpeppe/go-internal/testscript"
)

// shown is what "keywright login" tells a person to do.
var shown = regexp.MustCompile(`Open (https://\S+) in a browser and enter the code ([A-Z0-9-]+)\.`)

// The parts of a page that a person's browser sends back.
var (
	action = regexp.MustCompile(`<form method="post" action="([^"]+)"`)
	input  = regexp.MustCompile(`<input ([^>]*)>`)
	name   = regexp.MustCompile(`name="([^"]+)"`)
	value  = regexp.MustCompile(`value="([^"]*)"`)
)

// browser is what a person signs in with. It knows the pages only by what they say.
type browser struct {
	client *http.Client
	// at is the address of the page that is shown, page its text.
	at     *url.URL
	page   string
	status int
}

func (b *browser) open(ctx context.Context, address string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return b.do(r)
}

// submit fills the page's form and presses the button: all that is not filled is sent as the page had it.
func (b *browser) submit(ctx context.Context, button string, fill map[string]string) error {
	to := action.FindStringSubmatch(b.page)
	if to == nil {
		return fmt.Errorf("the page has no form: %s", b.page)
	}
	form := url.Values{"step": {button}}
	for _, field := range input.FindAllStringSubmatch(b.page, -1) {
		n := name.FindStringSubmatch(field[1])
		if n == nil {
			continue
		}
		form.Set(n[1], "")
		if v := value.FindStringSubmatch(field[1]); v != nil {
			form.Set(n[1], html.UnescapeString(v[1]))
		}
	}
	for n, v := range fill {
		if !form.Has(n) {
			return fmt.Errorf("the form does not ask for %q: %s", n, b.page)
		}
		form.Set(n, v)
	}
	target, err := b.at.Parse(html.UnescapeString(to[1]))
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", b.at.Scheme+"://"+b.at.Host)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

func (b *browser) do(r *http.Request) error {
	resp, err := b.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	b.at, b.page, b.status = resp.Request.URL, string(text), resp.StatusCode
	return err
}

// signIn does what a login asks for, as a person would: opens the page, types the code, and proves who they are. The file is what the
// login wrote, and TOTP the file with the URL of their code generator:
//
//	sign-in LOGIN UPN PASSWORD-FILE TOTP-FILE
//	! sign-in ...	expects that the page refuses it, and goes on showing its form
func signIn(client *http.Client) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) != 4 {
			ts.Fatalf("usage: sign-in LOGIN UPN PASSWORD-FILE TOTP-FILE")
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		told := shown.FindStringSubmatch(ts.ReadFile(args[0]))
		if told == nil {
			ts.Fatalf("%s does not tell where to sign in: %s", args[0], ts.ReadFile(args[0]))
		}
		link, err := url.Parse(strings.TrimSpace(ts.ReadFile(args[3])))
		ts.Check(err)
		code, err := totp.GenerateCode(link.Query().Get("secret"), time.Now())
		ts.Check(err)
		b := &browser{client: client}
		ts.Check(b.open(ctx, told[1]))
		ts.Check(b.submit(ctx, "find", map[string]string{"user_code": strings.ToLower(told[2])}))
		if !strings.Contains(b.page, told[2]) {
			ts.Fatalf("the page does not show the code to compare: %s", b.page)
		}
		password := strings.TrimSuffix(ts.ReadFile(args[2]), "\n")
		ts.Check(b.submit(ctx, "allow", map[string]string{"upn": args[1], "password": password, "code": code}))
		if strings.Contains(b.page, password) {
			ts.Fatalf("the page shows the password")
		}
		if in := b.status == http.StatusOK && strings.Contains(b.page, "signed in as "+args[1]); in == neg {
			ts.Fatalf("the page answers %d: %s", b.status, b.page)
		}
	}
}
