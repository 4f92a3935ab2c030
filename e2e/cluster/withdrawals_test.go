package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// errDoubt is something of which nobody knows whether it was done.
var errDoubt = errors.New("it may or may not have been done")

// granted is a principal that may read one secret of a vault, until that is withdrawn.
type granted struct {
	name, token  string
	grant, scope string
	// withdrawn is when a withdrawal was acknowledged.
	withdrawn atomic.Pointer[time.Time]
	what      string
}

// withdrawals gives and withdraws, again and again, in a vault in which what was withdrawn is served for no longer than within. Clients read at all nodes meanwhile.
func (r *run) withdrawals(ctx context.Context, vault string, within time.Duration) {
	var now atomic.Pointer[granted]
	var all sync.WaitGroup
	for _, n := range r.in.nodes {
		all.Go(func() {
			for ; ctx.Err() == nil; rest(ctx, r.pause) {
				if g := now.Load(); g != nil {
					r.readGranted(ctx, n, vault, g, within)
				}
			}
		})
	}
	for i := 0; ctx.Err() == nil; i++ {
		g, err := r.grant(ctx, vault, fmt.Sprintf("%s-%d", vault, i))
		if err != nil {
			rest(ctx, 200*time.Millisecond)
			continue
		}
		r.figures.grants.Add(1)
		now.Store(g)
		rest(ctx, bound+rand.N(bound/2)) // until it is known everywhere and was read
		if err := r.withdraw(ctx, vault, g, i%3); err != nil {
			if ctx.Err() == nil {
				r.wrong("withdrawing: %v", err)
			}
			break
		}
		r.figures.withdrawals.Add(1)
		rest(ctx, bound+bound/2) // readers go on
	}
	all.Wait()
}

func (r *run) readGranted(ctx context.Context, n *node, vault string, g *granted, within time.Duration) {
	began := time.Now()
	a, err := n.get(context.WithoutCancel(ctx), vault, g.token, g.name)
	if later(a, err) {
		r.figures.refused.Add(1)
		return
	}
	r.figures.reads.Add(1)
	at := g.withdrawn.Load()
	if a.status != http.StatusOK || at == nil {
		return
	}
	after := began.Sub(*at)
	r.figures.mu.Lock()
	r.figures.latest[vault] = max(r.figures.latest[vault], after)
	r.figures.mu.Unlock()
	if after > within {
		r.wrong("%s served %s of %s %s after %s was acknowledged", n.name, g.name, vault, after, g.what)
	}
}

// grant makes a secret and somebody who may read it. Whatever is in doubt is left alone: it may happen at any time.
func (r *run) grant(ctx context.Context, vault, name string) (*granted, error) {
	at := rand.N(len(r.in.nodes))
	n, native := r.in.nodes[at], r.natives[at]
	v, err := native.ShowVault(ctx, vault)
	if err != nil {
		return nil, err
	}
	p, err := native.CreatePrincipal(ctx, api.CreatePrincipal{Kind: "ServicePrincipal", Name: name})
	if err != nil {
		return nil, err
	}
	credential, err := native.AddCredential(ctx, p.ID, api.AddCredential{Kind: "secret", Name: "test"})
	if err != nil {
		return nil, err
	}
	a, err := n.set(ctx, vault, r.token, name, "value")
	if err := failure(a, err); err != nil {
		return nil, err
	}
	granted := &granted{name: name, scope: v.ID}
	g, err := native.CreateGrant(ctx, api.CreateGrant{Role: "Key Vault Secrets User", Principal: p.ID, Scope: v.ID})
	if err != nil {
		return nil, errDoubt
	}
	granted.grant = g.ID
	granted.token, err = r.in.token(ctx, n, p.AppID, credential.Secret.Reveal(), vaultResource())
	return granted, err
}

// withdraw takes away what lets the secret be read, at whichever node does it. Doing it twice does no harm.
func (r *run) withdraw(ctx context.Context, vault string, g *granted, kind int) error {
	g.what = []string{"the end of a grant", "disabling the version", "deleting the secret"}[kind]
	if err := r.anywhere(ctx, func(i int) error {
		var err error
		n := r.in.nodes[i]
		switch kind {
		case 0:
			if err = r.natives[i].DeleteGrant(ctx, g.grant, g.scope); client.KindOf(err) == client.NotFound {
				err = nil
			}
			return err
		case 1:
			return failure(n.do(ctx, vault, r.token, http.MethodPatch, "/secrets/"+g.name+"/", `{"attributes":{"enabled":false}}`))
		default:
			a, err := n.do(ctx, vault, r.token, http.MethodDelete, "/secrets/"+g.name, "")
			if err == nil && a.status == http.StatusNotFound {
				return nil
			}
			return failure(a, err)
		}
	}); err != nil {
		return err
	}
	now := time.Now()
	g.withdrawn.Store(&now)
	return nil
}
