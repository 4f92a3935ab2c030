package oauth

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
)

//go:embed pages
var files embed.FS

var pageTemplate = template.Must(template.ParseFS(files, "pages/page.html"))

// The pages load nothing from elsewhere, run no script within the page and cannot be framed.
var pagePolicy = []string{"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"}

// page is what the one template shows. Step is find, decide or done; enrolment has steps of its own.
type page struct {
	Title, Error, Message string
	Step                  string
	// Action is where the form goes, Assets where style and script are.
	Action, Assets string
	Code           string
	Client         string
	Address        string
	Started        string
	Resource       string
	// Ceremony and Options start navigator.credentials.create for the Person.
	Ceremony, Options, Person string
	// Elsewhere is the page's address by a name.
	Elsewhere string
	// Leave is where the browser goes on to by itself.
	Leave string
}

func (h *handler) show(r *door.Request, status int, p page) error {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		return err
	}
	head := r.Header()
	head["Content-Type"] = []string{"text/html; charset=utf-8"}
	head["Content-Security-Policy"] = pagePolicy
	head["Referrer-Policy"] = []string{"same-origin"} // with no-referrer, browsers send a form with the origin null
	head["X-Frame-Options"] = []string{"DENY"}
	r.Raw(status, b.Bytes())
	return nil
}

func asset(name, kind string) func(*door.Request) error {
	content, err := files.ReadFile("pages/" + name)
	if err != nil {
		panic(err) // it is compiled in
	}
	return func(r *door.Request) error {
		head := r.Header()
		head["Content-Type"] = []string{kind}
		head["Cache-Control"] = []string{"public, max-age=3600"}
		r.Raw(http.StatusOK, content)
		return nil
	}
}

// sameOrigin refuses a form that another site sent. The forms carry the person's credentials, so that another site has nothing to
// gain but to sign the person in as somebody else.
func sameOrigin(r *door.Request) error {
	site, origin := r.HTTP.Header.Get("Sec-Fetch-Site"), r.HTTP.Header.Get("Origin")
	if site != "" && site != "same-origin" || origin != "" && origin != "https://"+r.HTTP.Host {
		return fault.New(fault.Forbidden, "The form was sent by another site; open the page here and try again.")
	}
	return nil
}

// problem shows an error on the page, unless it is ours.
func (h *handler) problem(r *door.Request, p page, err error) error {
	f := fault.As(err)
	if f == nil || f.Kind == fault.Internal {
		return err
	}
	r.RetryAfter(f.RetryAfter)
	p.Error = f.Message
	return h.show(r, wireOf(f).status, p)
}

// deviceLogin is the short address that people type.
func (h *handler) deviceLogin(r *door.Request) error {
	r.Header()["Location"] = []string{"/common/oauth2/deviceauth"}
	r.Raw(http.StatusFound, nil)
	return nil
}

func (a authority) devicePage() page {
	base := strings.TrimPrefix(a.base, "https://"+a.host)
	return page{Title: "Sign in a device", Step: "find", Action: base + "/oauth2/deviceauth", Assets: base + "/oauth2"}
}

func (h *handler) devicePage(r *door.Request) error {
	a, err := h.authority(r)
	if err != nil {
		return err
	}
	return h.show(r, http.StatusOK, a.devicePage())
}

func (h *handler) deviceDecision(r *door.Request) error {
	a, err := h.authority(r)
	if err != nil {
		return err
	}
	if err := sameOrigin(r); err != nil {
		return err
	}
	f, err := parseForm(r.HTTP.Header.Get("Content-Type"), r.Body())
	if err != nil {
		return err
	}
	p := a.devicePage()
	pending, err := h.Issuer.PendingDevice(r.HTTP.Context(), a.tenant, f["user_code"], from(r))
	if err != nil {
		return h.problem(r, p, err)
	}
	p.Step, p.Code, p.Client, p.Resource = "decide", strings.ToUpper(f["user_code"]), pending.Client, pending.Resource
	p.Started = pending.Started.UTC().Format("15:04:05 UTC")
	if pending.Address.IsValid() {
		p.Address = pending.Address.String()
	}
	if f["step"] != "allow" && f["step"] != "deny" {
		return h.show(r, http.StatusOK, p)
	}
	var who *identity.Person
	if f["step"] == "allow" {
		if who, err = h.person(r, a, f); err != nil {
			return h.problem(r, p, err)
		}
	}
	if err := h.Issuer.DecideDevice(r.HTTP.Context(), a.tenant, f["user_code"], who, who != nil); err != nil {
		return h.problem(r, p, err)
	}
	p.Step, p.Message = "done", "The device was refused."
	if who != nil {
		p.Message = "The device is signed in as " + who.Name() + ". You may close this page."
	}
	return h.show(r, http.StatusOK, p)
}

// person proves who sent the form: by passkey, or by password and code.
func (h *handler) person(r *door.Request, a authority, f form) (*identity.Person, error) {
	if f["passkey"] != "" {
		return h.Issuer.SignInWithPasskey(r.HTTP.Context(), a.tenant, "https://"+r.HTTP.Host, f.secret("passkey_id"), []byte(f["passkey"]), from(r))
	}
	return h.Issuer.SignInWithPassword(r.HTTP.Context(), identity.PasswordSignIn{Tenant: a.tenant, UPN: f["upn"], Password: f.secret("password"),
		Code: f.secret("code"), From: from(r)})
}

// passkey gives the page's script a challenge.
func (h *handler) passkey(r *door.Request) error {
	a, err := h.authority(r)
	if err != nil {
		return err
	}
	if err := sameOrigin(r); err != nil {
		return err
	}
	c, err := h.Issuer.BeginPasskey(r.HTTP.Context(), a.tenant, "https://"+r.HTTP.Host, from(r))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, map[string]any{"id": c.ID.Reveal(), "options": c.Options})
}

// maxNonce bounds what is kept for a program until its person has signed in, in bytes.
const maxNonce = 256

// codeRequest reads the wish of a program from the query.
func (h *handler) codeRequest(r *door.Request, a authority) (identity.CodeRequest, page, error) {
	f := form{"scope": r.Query("scope"), "resource": r.Query("resource")}
	c := identity.CodeRequest{Tenant: a.tenant, ClientID: r.Query("client_id"), Redirect: r.Query("redirect_uri"), Challenge: r.Query("code_challenge"),
		Scope: h.scopes(r, f), Nonce: r.Query("nonce")}
	base := strings.TrimPrefix(a.base, "https://"+a.host)
	p := page{Title: "Sign in", Step: "decide", Action: r.HTTP.URL.RequestURI(), Assets: base + "/oauth2"}
	if r.Query("response_type") != "code" || r.Query("code_challenge_method") != "S256" {
		return c, p, wrongRequest("The request needs response_type=code and code_challenge_method=S256.")
	}
	if len(c.Nonce) > maxNonce {
		return c, p, wrongRequest("The nonce has more than %d bytes.", maxNonce)
	}
	if mode := r.Query("response_mode"); mode != "" && mode != "query" {
		return c, p, wrongRequest("The response_mode must be query.")
	}
	var err error
	if c.Resource, err = f.resource(); err != nil {
		return c, p, err
	}
	p.Resource = c.Resource
	p.Client, err = h.Issuer.CheckCodeRequest(c)
	return c, p, err
}

// authorizePage shows the sign-in page. A request that is wrong is answered here and never at its redirect_uri, which may be
// what is wrong with it.
func (h *handler) authorizePage(r *door.Request) error {
	a, err := h.authority(r)
	if err != nil {
		return err
	}
	_, p, err := h.codeRequest(r, a)
	if err != nil {
		return err
	}
	return h.show(r, http.StatusOK, p)
}

func (h *handler) authorizeDecision(r *door.Request) error {
	a, err := h.authority(r)
	if err != nil {
		return err
	}
	if err := sameOrigin(r); err != nil {
		return err
	}
	c, p, err := h.codeRequest(r, a)
	if err != nil {
		return err
	}
	f, err := parseForm(r.HTTP.Header.Get("Content-Type"), r.Body())
	if err != nil {
		return err
	}
	answer := url.Values{"state": {r.Query("state")}}
	if f["step"] == "allow" {
		who, err := h.person(r, a, f)
		if err != nil {
			return h.problem(r, p, err)
		}
		code, err := h.Issuer.IssueCode(r.HTTP.Context(), c, who)
		if err != nil {
			return h.problem(r, p, err)
		}
		answer.Set("code", code.Reveal())
		p.Message = "You are signed in as " + who.Name() + " and may close this page."
	} else {
		answer.Set("error", "access_denied")
		p.Message = "The program was refused. You may close this page."
	}
	p.Step, p.Leave = "done", leave(c.Redirect, answer)
	return h.show(r, http.StatusOK, p)
}

// leave is the address of the person's machine that takes the answer. A redirect of the form would fall under the page's policy.
func leave(redirect string, answer url.Values) string {
	joint := "?"
	if strings.Contains(redirect, "?") {
		joint = "&"
	}
	return redirect + joint + answer.Encode()
}
