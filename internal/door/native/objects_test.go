package native

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/vault"
)

// One document that cannot be read keeps no other from being listed.
func TestPageListsWhatCannotBeRead(t *testing.T) {
	r := &door.Request{HTTP: &http.Request{URL: &url.URL{RawQuery: "limit=3"}}}
	list := func(_ context.Context, _ *guard.Call, p object.Page) (object.Listing, error) {
		if p.Limit != 3 {
			t.Errorf("a page of %d was asked for", p.Limit)
		}
		var l object.Listing
		for _, name := range []string{"a", "broken", "c"} {
			l.Items = append(l.Items, object.Item{Object: &vault.Object{Name: name}})
		}
		l.Next = "c"
		return l, nil
	}
	type shown struct{ name, more string }
	items, following, err := pageOf(r, list, func(_ *door.Request, it *object.Item) (*shown, error) {
		s := &shown{name: it.Object.Name}
		if s.name == "broken" {
			return s, errors.New("no document")
		}
		s.more = "known"
		return s, nil
	})
	if err != nil || len(items) != 3 || items[1] != (shown{name: "broken"}) || items[2] != (shown{"c", "known"}) {
		t.Errorf("listed %+v, %v", items, err)
	}
	if after, _, err := page(&door.Request{HTTP: &http.Request{URL: &url.URL{RawQuery: "after=" + following}}}); err != nil || after != "c" {
		t.Errorf("the next page begins behind %q, %v", after, err)
	}
}
