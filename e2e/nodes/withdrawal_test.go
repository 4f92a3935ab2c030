package nodes_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/client/api"
)

// reader is a service principal that may read the vault.
type reader struct {
	id, appID, secret string
	// grant is its right, scope where.
	grant, scope string
	token        string
}

// newReader makes one at the first node.
func (c *cluster) newReader(name string) *reader {
	c.Helper()
	ctx, native := c.Context(), c.nodes[0].api()
	v, err := native.ShowVault(ctx, "demo")
	must(c, err)
	p, err := native.CreatePrincipal(ctx, api.CreatePrincipal{Kind: "ServicePrincipal", Name: name})
	must(c, err)
	credential, err := native.AddCredential(ctx, p.ID, api.AddCredential{Kind: "secret", Name: "test"})
	must(c, err)
	g, err := native.CreateGrant(ctx, api.CreateGrant{Role: "Key Vault Secrets User", Principal: p.ID, Scope: v.ID})
	must(c, err)
	r := &reader{id: p.ID, appID: p.AppID, secret: credential.Secret.Reveal(), grant: g.ID, scope: v.ID}
	r.token, err = c.nodes[0].token(ctx, r.appID, r.secret, c.vaultResource())
	must(c, err)
	return r
}

// readable waits until the token reads at every node: a grant too is known everywhere within a second.
func (c *cluster) readable(token, name string) {
	c.Helper()
	for _, n := range c.nodes {
		eventually(c, time.Minute, n.address+" lets "+name+" be read", func() bool {
			a, err := n.get(c.Context(), token, name)
			return err == nil && a.status == http.StatusOK
		})
	}
}

// refused reads at every node again and again while something is withdrawn, and fails when a read that began a second after that was acknowledged succeeds.
func (c *cluster) refused(what, token, name string, withdraw func(context.Context) error) {
	c.Helper()
	c.readable(token, name)
	var mu sync.Mutex
	var acknowledged time.Time
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, n := range c.nodes {
		all.Go(func() {
			var last time.Duration
			for {
				select {
				case <-stop:
					c.Logf("%s: %s answered with the value until %s after", what, n.address, last.Round(time.Millisecond))
					return
				default:
				}
				began := time.Now()
				a, err := n.get(c.Context(), token, name)
				mu.Lock()
				after := time.Duration(0)
				if !acknowledged.IsZero() {
					after = began.Sub(acknowledged)
				}
				mu.Unlock()
				switch {
				case err != nil:
					c.Errorf("%s: %v", n.address, err)
					return
				case a.status != http.StatusOK:
				case after > bound:
					c.Errorf("%s: %s gave the value %s after that was acknowledged", what, n.address, after)
					return
				default:
					last = max(last, after)
				}
			}
		})
	}
	if err := withdraw(c.Context()); err != nil {
		c.Error(err)
	}
	mu.Lock()
	acknowledged = time.Now()
	mu.Unlock()
	time.Sleep(bound + 300*time.Millisecond)
	close(stop)
	all.Wait()
	for _, n := range c.nodes {
		if a, err := n.get(c.Context(), token, name); err != nil || a.status == http.StatusOK || a.status == http.StatusServiceUnavailable {
			c.Errorf("%s: %s says %d, %v", what, n.address, a.status, err)
		}
	}
}

// withdrawals withdraws at one node what callers at all nodes use.
func withdrawals(c *cluster) {
	t := c.T
	admin := c.nodes[0].admin(c.vaultResource())
	must(t, c.nodes[0].set(t.Context(), admin, "shared", "value"))
	native := c.nodes[1].api()
	granted, disabled, removed := c.newReader("granted"), c.newReader("disabled"), c.newReader("removed")
	c.refused("a grant that was withdrawn", granted.token, "shared", func(ctx context.Context) error { return native.DeleteGrant(ctx, granted.grant, granted.scope) })
	c.refused("a principal that was disabled", disabled.token, "shared", func(ctx context.Context) error {
		yes := true
		_, err := native.UpdatePrincipal(ctx, disabled.id, api.UpdatePrincipal{Disabled: &yes})
		return err
	})
	c.refused("a credential that was removed", removed.token, "shared", func(ctx context.Context) error {
		p, err := native.Principal(ctx, removed.id)
		if err != nil {
			return err
		}
		return native.RemoveCredential(ctx, removed.id, p.Credentials[0].ID)
	})
	c.refused("a version that was disabled", admin, "shared", func(ctx context.Context) error {
		a, err := c.nodes[2].do(ctx, admin, http.MethodPatch, "/secrets/shared/", `{"attributes":{"enabled":false}}`)
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("disabling: %d %s", a.status, a.code)
		}
		return err
	})
}

// TestLostNode is what a node does that does not hear of the others.
func TestLostNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.with("Stopped", stoppedNode)
	c.with("CutOff", cutOff)
}

// stoppedNode stops a node's process, changes and withdraws at another what the first remembers, and lets it go on while requests wait at its door: it may
// refuse them for now, but answers none from what it remembered.
func stoppedNode(c *cluster) {
	t := c.T
	ctx := t.Context()
	live, stopped := c.nodes[0], c.nodes[1]
	admin := live.admin(c.vaultResource())
	must(t, live.set(ctx, admin, "changed", "old"))
	withdrawn := c.newReader("withdrawn")
	c.readable(withdrawn.token, "changed")
	c.readable(admin, "changed")
	native := live.api()
	stopped.signal(syscall.SIGSTOP)
	resumed := false
	defer func() {
		if !resumed {
			stopped.signal(syscall.SIGCONT)
		}
	}()
	must(t, live.set(ctx, admin, "changed", "new"))
	must(t, native.DeleteGrant(ctx, withdrawn.grant, withdrawn.scope))
	time.Sleep(bound + 500*time.Millisecond)
	// Requests wait on connections that are open, and on new ones.
	var all sync.WaitGroup
	counts := map[int]int{}
	var mu sync.Mutex
	ask := func(token string, may bool) {
		a, err := stopped.get(ctx, token, "changed")
		mu.Lock()
		defer mu.Unlock()
		counts[a.status]++
		switch {
		case err != nil:
			t.Error(err)
		case a.status == http.StatusServiceUnavailable:
			if !a.retry {
				t.Error("a refusal for now does not say when to try again")
			}
		case may && (a.status != http.StatusOK || a.value != "new"):
			t.Errorf("the node answers %d %q (%s) after it was stopped", a.status, a.value, a.code)
		case !may && a.status == http.StatusOK:
			t.Errorf("the node lets in whose grant was withdrawn while it was stopped")
		}
	}
	for range 16 {
		all.Go(func() { ask(admin, true) })
		all.Go(func() { ask(withdrawn.token, false) })
	}
	time.Sleep(200 * time.Millisecond)
	resumed = true
	stopped.signal(syscall.SIGCONT)
	all.Wait()
	for end := time.Now().Add(bound); time.Now().Before(end); {
		ask(admin, true)
		ask(withdrawn.token, false)
	}
	t.Logf("answers by status: %v", counts)
	eventually(t, time.Minute, "the node has caught up", func() bool { a, err := stopped.get(ctx, admin, "changed"); return err == nil && a.value == "new" })
}
