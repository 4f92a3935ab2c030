package azure

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/vault"
)

// maxResults is the largest page, and the default (Key Vault REST API, maxresults).
const maxResults = 25

// page reads where a listing goes on and how much is wanted.
func page(r *door.Request) (object.Page, error) {
	p := object.Page{Limit: maxResults}
	if s := r.Query("maxresults"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxResults {
			return p, fault.New(fault.Invalid, "maxresults is not valid: give a number from 1 to %d", maxResults)
		}
		p.Limit = n
	}
	if s := r.Query("$skiptoken"); s != "" {
		after, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || vault.CheckObjectName(string(after)) != nil {
			return p, fault.New(fault.Invalid, "the $skiptoken is not one that this server gave: follow nextLink as it is, or list from the start")
		}
		p.After = string(after)
	}
	return p, nil
}

// lister is how a service lists.
type lister = func(context.Context, *guard.Call, object.Page) (object.Listing, error)

// answerList answers with the page of a listing that the request asks for. The path may carry parameters of the listing's own, which the next page takes too.
func (h *handler) answerList(r *door.Request, path string, list lister, add func(*encoder, *object.Item)) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := list(r.HTTP.Context(), &r.Call, p)
	if err != nil {
		return err
	}
	h.list(r, path, p, found, add)
	return nil
}

// answerVersions answers with a page of the versions of the named object.
func (h *handler) answerVersions(r *door.Request, collection string, versions func(context.Context, *guard.Call, string, object.Page) (object.Listing, error), add func(*encoder, *object.Item)) error {
	name := r.Params.Get("name")
	list := func(ctx context.Context, call *guard.Call, p object.Page) (object.Listing, error) {
		return versions(ctx, call, name, p)
	}
	return h.answerList(r, "/"+collection+"/"+name+"/versions", list, add)
}

func (h *handler) listSecrets(r *door.Request) error {
	return h.answerList(r, "/secrets", h.Secrets.List, (*encoder).item)
}

func (h *handler) listDeleted(r *door.Request) error {
	return h.answerList(r, "/deletedsecrets", h.Secrets.ListDeleted, (*encoder).deletedItem)
}

func (h *handler) listVersions(r *door.Request) error {
	return h.answerVersions(r, secrets, h.Secrets.Versions, (*encoder).versionItem)
}

// list answers with a page. A full page has a nextLink, which may lead to an empty one.
func (h *handler) list(r *door.Request, path string, p object.Page, found object.Listing, add func(*encoder, *object.Item)) {
	e := h.encoder(r)
	e.raw(`{"value":[`)
	for i := range found.Items {
		if i > 0 {
			e.byte(',')
		}
		add(&e, &found.Items[i])
	}
	e.raw(`],"nextLink":`)
	if found.Next == "" {
		e.raw("null}")
	} else {
		e.buf = appendString(e.buf, nextLink(r, path, p, found.Next))
		e.byte('}')
	}
	r.Scratch = e.buf
	r.Reply(http.StatusOK, e.buf)
}

// nextLink is the address of the page behind a key.
func nextLink(r *door.Request, path string, p object.Page, next string) string {
	mark := "?"
	if strings.Contains(path, mark) {
		mark = "&"
	}
	return r.Base + path + mark + "api-version=" + r.Call.APIVersion + "&$skiptoken=" + base64.RawURLEncoding.EncodeToString([]byte(next)) +
		"&maxresults=" + strconv.Itoa(p.Limit)
}

// item appends a live secret of a listing: its id has no version.
func (e *encoder) item(it *object.Item) {
	e.byte('{')
	e.id("id", secrets, &object.Item{Object: it.Object})
	e.properties(it)
	e.byte('}')
}

func (e *encoder) deletedItem(it *object.Item) {
	e.byte('{')
	e.deletion(secrets, it)
	e.id("id", secrets, &object.Item{Object: it.Object})
	e.properties(it)
	e.byte('}')
}

func (e *encoder) versionItem(it *object.Item) {
	e.byte('{')
	e.id("id", secrets, it)
	e.properties(it)
	e.byte('}')
}
