package server

import (
	"crypto/fips140"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/audit"
)

// firstVault returns a vault of the server.
func (c *caller) firstVault() api.Vault {
	c.t.Helper()
	answer, body := c.do("GET", "/api/v1/vaults", "")
	var list api.VaultList
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Items) == 0 {
		c.t.Fatal(answer.Status, body)
	}
	return list.Items[0]
}

// Requests that change the same thing at the same time all count, and only one of them makes it.
func TestChangesAtOnce(t *testing.T) {
	c := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir()}}).native(t)
	v := c.firstVault()
	const n = 4
	at := func(change func(i int) int) (statuses []int) {
		var wg sync.WaitGroup
		statuses = make([]int, n)
		for i := range n {
			wg.Go(func() { statuses[i] = change(i) })
		}
		wg.Wait()
		return statuses
	}
	for round := range 5 {
		got := at(func(i int) int {
			answer, _ := c.do("PATCH", "/api/v1/vaults/"+v.Name+"/network", fmt.Sprintf(`{"add":["203.0.%d.%d"]}`, round, i))
			return answer.StatusCode
		})
		if !slices.Equal(got, []int{200, 200, 200, 200}) {
			t.Fatalf("the network rules were answered with %v", got)
		}
	}
	if got := len(c.firstVault().Network.Addresses); got != 5*n {
		t.Errorf("the vault has %d rules of %d", got, 5*n)
	}
	got := at(func(int) int {
		answer, _ := c.do("PUT", "/api/v1/vaults/once", fmt.Sprintf(`{"subscription":%q,"resourceGroup":%q}`, v.Subscription, v.ResourceGroup))
		return answer.StatusCode
	})
	if slices.Sort(got); !slices.Equal(got, []int{200, 409, 409, 409}) {
		t.Errorf("making a vault was answered with %v", got)
	}
}

// Vaults are listed page by page, those of every subscription, and a deleted one is found by its name.
func TestVaultsHavePages(t *testing.T) {
	c := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir()}}).native(t)
	v := c.firstVault()
	do := func(method, path, body string, status int) string {
		t.Helper()
		answer, got := c.do(method, "/api/v1"+path, body)
		if answer.StatusCode != status {
			t.Fatal(method, path, answer.Status, got)
		}
		return got
	}
	want := []string{v.Name}
	for i := range 4 {
		name := fmt.Sprint("paged-", i)
		do("PUT", "/vaults/"+name, fmt.Sprintf(`{"subscription":%q,"resourceGroup":%q}`, v.Subscription, v.ResourceGroup), 200)
		want = append(want, name)
	}
	pages := func(path string, sizes ...int) (names []string) {
		t.Helper()
		next := ""
		for _, size := range sizes {
			var list api.VaultList
			if err := json.Unmarshal([]byte(do("GET", path+"?limit=2&after="+next, "", 200)), &list); err != nil || len(list.Items) != size {
				t.Fatalf("a page of %d vaults, want %d: %v", len(list.Items), size, err)
			}
			for _, v := range list.Items {
				names = append(names, v.Name)
			}
			next = list.Next
		}
		if next != "" {
			t.Error("the last page has a next one")
		}
		return names
	}
	if got := pages("/vaults", 2, 2, 1); !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for _, name := range want[1:] {
		do("DELETE", "/vaults/"+name, "", 204)
	}
	if got := pages("/deleted-vaults", 2, 2); !slices.Equal(got, want[1:]) {
		t.Errorf("listed %v as deleted, want %v", got, want[1:])
	}
	do("GET", "/vaults?limit=0", "", 400)
	do("GET", "/vaults?after=%21", "", 400)
	do("DELETE", "/deleted-vaults/PAGED-1", "", 204)
	do("POST", "/deleted-vaults/paged-1/recover", "", 404)
	do("DELETE", "/deleted-vaults/"+v.Name, "", 404) // it lives
	do("POST", "/deleted-vaults/paged-2/recover", "", 200)
	if got := pages("/deleted-vaults", 2); !slices.Equal(got, []string{"paged-0", "paged-3"}) {
		t.Errorf("listed %v as deleted", got)
	}
}

func TestMinutesThatDoNotFitAreRefused(t *testing.T) {
	c := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir()}}).native(t)
	path := "/api/v1/vaults/" + c.firstVault().Name + "/event-subscriptions/one"
	for _, minutes := range []int64{-9007199254740982, -1, 1 << 53} {
		answer, body := c.do("PUT", path, fmt.Sprintf(`{"endpoint":"https://127.0.0.1:1/","ttlMinutes":%d}`, minutes))
		if answer.StatusCode != 400 || !strings.Contains(body, "the time to live") {
			t.Errorf("%d minutes: %s %s", minutes, answer.Status, body)
		}
	}
}

func TestStatusTellsHowTheServerIsConfigured(t *testing.T) {
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Region: "northwest", Durability: audit.Fsync}})
	answer, body := d.native(t).do("GET", "/api/v1/status", "")
	var s api.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || answer.StatusCode != 200 {
		t.Fatal(answer.Status, body)
	}
	if s.Region != "northwest" || s.Audit.Durability != "fsync" || s.Seal != "keyfile" || s.FIPS != fips140.Enabled() {
		t.Errorf("the status is %+v", s)
	}
}
