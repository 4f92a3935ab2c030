package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

type listing struct {
	Value []struct {
		ID string `json:"id"`
	} `json:"value"`
	NextLink *string `json:"nextLink"`
}

// TestPagingWhileOthersWrite follows nextLink over three pages; what was there throughout is listed exactly once.
func TestPagingWhileOthersWrite(t *testing.T) {
	x := startTarget(t)
	base, token := x.namedVault(devVault), x.token(t, x.vaultResource())
	put := func(name string) {
		if r := x.send("PUT", base+"/secrets/"+name+"?api-version=7.6", token, `{"value":"v"}`); r.status != 200 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	const items = 63
	for i := range items {
		put(fmt.Sprintf("stays-%02d", i))
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprintf("comes-%02d", i%40)
			put(name)
			x.send("DELETE", base+"/secrets/"+name+"?api-version=7.6", token, "")
			x.send("DELETE", base+"/deletedsecrets/"+name+"?api-version=7.6", token, "")
			put(fmt.Sprintf("stays-%02d", i%items)) // another version of what is listed
		}
	})
	for range 5 {
		seen := map[string]int{}
		for next := base + "/secrets?api%2Dversion=7.6"; next != ""; {
			r := x.send("GET", next, token, "")
			var page listing
			if err := json.Unmarshal([]byte(r.body), &page); err != nil || r.status != 200 || len(page.Value) > 25 {
				t.Fatalf("%s: %d, %v", next, r.status, err)
			}
			for _, v := range page.Value {
				seen[v.ID]++
			}
			if next = ""; page.NextLink != nil {
				if next = *page.NextLink; !strings.HasPrefix(next, base+"/secrets?api-version=7.6&$skiptoken=") || !strings.HasSuffix(next, "&maxresults=25") {
					t.Fatalf("nextLink %q", next)
				}
			}
		}
		for i := range items {
			if n := seen[fmt.Sprintf("%s/secrets/stays-%02d", base, i)]; n != 1 {
				t.Errorf("item %d is listed %d times", i, n)
			}
		}
	}
	close(stop)
	writer.Wait()
}

// TestSpellingsOfTheSameRequest: clients write paths, queries and methods in several ways.
func TestSpellingsOfTheSameRequest(t *testing.T) {
	x := startTarget(t)
	base, token := x.namedVault(devVault), x.token(t, x.vaultResource())
	set := x.send("PUT", base+"/secrets/Db?api-version=7.6", token, `{"value":"v"}`)
	var bundle struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(set.body), &bundle); err != nil || set.status != 200 {
		t.Fatal(set, err)
	}
	for _, url := range []string{base + "/secrets/db", base + "/secrets/db/", base + "/secrets/db//", base + "/SECRETS/DB", bundle.ID, bundle.ID + "/", strings.ToUpper(bundle.ID[len(base):]), base + "/secrets/%64b"} {
		if !strings.HasPrefix(url, base) {
			url = base + url
		}
		for _, query := range []string{"?api-version=7.6", "?api%2Dversion=7.6", "?x=y&api%2dversion=7.6&z"} {
			if r := x.send("GET", url+query, token, ""); r.status != 200 || r.body != set.body {
				t.Errorf("%s%s: %d %s; want %s", url, query, r.status, r.body, set.body)
			}
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", base+"/secrets/db/?api-version=7.6", strings.NewReader(`{"tags":{"a":"b"}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("X-HTTP-METHOD", "PATCH")
	if a := x.roundTrip(r); a.status != 200 || !strings.Contains(a.body, `"tags":{"a":"b"}`) || strings.Contains(a.body, `"value"`) {
		t.Errorf("POST for PATCH: %d %s", a.status, a.body)
	}
}
