package oauth

import (
	"net/url"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/redact"
)

// maxFields bounds the fields of a form.
const maxFields = 64

// form is the decoded body of a request. Its values may be credentials: no message repeats one but the client id's.
type form map[string]string

// parseForm decodes a body of the type application/x-www-form-urlencoded. A field that occurs twice is refused (RFC 6749,
// section 3.2).
func parseForm(contentType string, body []byte) (form, error) {
	kind, _, _ := strings.Cut(contentType, ";")
	if kind = strings.TrimSpace(kind); kind != "" && !strings.EqualFold(kind, "application/x-www-form-urlencoded") {
		return nil, wrongRequest("The request body must be of the type application/x-www-form-urlencoded.")
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, wrongRequest("The request body is not a URL-encoded form.")
	}
	if len(values) > maxFields {
		return nil, wrongRequest("The request body has more than %d fields.", maxFields)
	}
	f := make(form, len(values))
	for name, v := range values {
		if len(v) > 1 {
			return nil, wrongRequest("The request body has the field '%s' more than once.", fault.Clip(name))
		}
		f[name] = v[0]
	}
	return f, nil
}

func wrongRequest(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, format, args...).Because(identity.WrongRequest)
}

// readForm decodes the request's body. A client may also name itself and its secret by HTTP Basic (RFC 6749, section 2.3.1).
func readForm(r *door.Request) (form, error) {
	f, err := parseForm(r.HTTP.Header.Get("Content-Type"), r.Body())
	if err != nil {
		return nil, err
	}
	id, secret, ok := r.HTTP.BasicAuth()
	if !ok {
		return f, nil
	}
	if f["client_secret"] != "" || f["client_assertion"] != "" {
		return nil, wrongRequest("The client names its credential twice: in the Authorization header and in the body.")
	}
	// Both are form-encoded before they are joined.
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if errID != nil || errSecret != nil || f["client_id"] != "" && f["client_id"] != id {
		return nil, wrongRequest("The Authorization header does not hold the client of the request.")
	}
	f["client_id"], f["client_secret"] = id, secret
	return f, nil
}

func (f form) secret(name string) redact.String { return redact.String(f[name]) }

// openIDScopes are the scopes that name no resource.
var openIDScopes = map[string]bool{"openid": true, "profile": true, "offline_access": true, "email": true}

// resource finds what the token is asked for: the field resource, or the scope that is not one of OpenID Connect's, less its
// last segment. Exactly one "/.default" is taken off: a resource may itself end in a slash.
func (f form) resource() (string, error) {
	if r := f["resource"]; r != "" {
		return r, nil
	}
	var found string
	for scope := range strings.FieldsSeq(f["scope"]) {
		if openIDScopes[scope] {
			continue
		}
		r, ok := strings.CutSuffix(scope, "/.default")
		if !ok {
			i := strings.LastIndexByte(scope, '/')
			if i <= 0 || !strings.Contains(scope[:i], "://") || strings.HasSuffix(scope[:i], ":/") {
				return "", fault.New(fault.Invalid, "The scope '%s' names no resource; use RESOURCE/.default.", fault.Clip(scope)).Because(identity.UnknownResource)
			}
			r = scope[:i]
		}
		if found != "" && found != r {
			return "", fault.New(fault.Invalid, "The scopes name more than one resource; ask for one token each.").Because(identity.UnknownResource)
		}
		found = r
	}
	return found, nil
}

// openID returns the requested scopes of OpenID Connect.
func (f form) openID() []string {
	var list []string
	for scope := range strings.FieldsSeq(f["scope"]) {
		if openIDScopes[scope] {
			list = append(list, scope)
		}
	}
	return list
}
