package cluster_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

const (
	// cacheTTL is how long applications keep what they read. They read more often, and wait for an answer for less.
	cacheTTL, readEvery, readWithin = 2 * time.Second, time.Second / 2, time.Second / 2
	applications                    = 3
	loginPause                      = 200 * time.Millisecond
	// rotationMost is how long a rotation may take, with its revocation, whatever happens.
	rotationMost = 3 * time.Minute
)

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// protect makes the secret of a target, with its policy.
func (r *run) protect(t *target) {
	ctx, vault := r.Context(), r.natives[0].Vault(strict)
	set := func(name string, l login) {
		_, err := vault.Set(ctx, name, fmt.Appendf(nil, `{"username":%q,"password":%q}`, l.Username, l.Password))
		must(r, err)
	}
	set(t.name+"-admin", t.admin)
	set(t.name, login{accountsOf(t.name)[0], firstPassword})
	_, err := vault.SetRotationPolicy(ctx, t.name, t.policy())
	must(r, err)
}

// application reads its credential and logs in all the time, with what it read last.
func (r *run) application(ctx context.Context, t *target, i int) {
	var mu sync.Mutex
	var current login
	first := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for once := false; ctx.Err() == nil; rest(ctx, readEvery) {
			l, err := r.readLogin(ctx, t.name, fmt.Sprintf("%s-app-%d", t.name, i))
			if err != nil {
				continue
			}
			mu.Lock()
			current = l
			mu.Unlock()
			t.read(l)
			if !once {
				once = true
				close(first)
			}
		}
	})
	all.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-first:
		}
		for ; ctx.Err() == nil; rest(ctx, loginPause) {
			mu.Lock()
			l := current
			mu.Unlock()
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
			refused, err := t.login(bounded, l)
			cancel()
			switch {
			case refused:
				r.figures.rejected.Add(1)
				r.wrong("%s rejected %s, which application %d read last: %v", t.name, l.Username, i, err)
			case err != nil:
				r.figures.loginErrors.Add(1)
				r.Logf("%s: %v", t.name, err)
			default:
				r.figures.logins.Add(1)
			}
		}
	})
	all.Wait()
}

// readLogin reads as a client does that asks another node when one does not answer.
func (r *run) readLogin(ctx context.Context, name, instance string) (l login, err error) {
	first := rand.N(len(r.in.nodes))
	for i := range r.in.nodes {
		if l, err = r.readLoginAt(ctx, r.in.nodes[(first+i)%len(r.in.nodes)], name, instance); err == nil {
			return l, nil
		}
	}
	return l, err
}

func (r *run) readLoginAt(ctx context.Context, n *node, name, instance string) (l login, err error) {
	bounded, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	a, err := n.as(bounded, instance, strict, r.token, http.MethodGet, "/secrets/"+name, "")
	if err := failure(a, err); err != nil {
		return l, err
	}
	return l, json.Unmarshal([]byte(a.value), &l)
}

// rotations changes the credential of a target again and again, and sees that the target accepts what the vault holds and nothing that it held before.
func (r *run) rotations(ctx context.Context, t *target) {
	known := []login{{accountsOf(t.name)[0], firstPassword}}
	r.finally(func(context.Context) { r.judgeChanges(t, known) })
	for ctx.Err() == nil {
		began := time.Now()
		next, err := r.rotate(context.WithoutCancel(ctx), t, known[len(known)-1])
		if err != nil {
			r.wrong("rotating %s: %v", t.name, err)
			return
		}
		known = append(known, next)
		r.figures.mu.Lock()
		r.figures.rotations[t.name]++
		r.figures.slowest = max(r.figures.slowest, time.Since(began))
		r.figures.mu.Unlock()
	}
}

// rotate makes one rotation, and returns when what it replaced is gone.
func (r *run) rotate(ctx context.Context, t *target, before login) (now login, err error) {
	ctx, cancel := context.WithTimeout(ctx, rotationMost)
	defer cancel()
	for ctx.Err() == nil {
		// Whether this was done shows below.
		_, _ = r.natives[rand.N(len(r.natives))].Vault(strict).Rotate(ctx, t.name, api.StartRotation{Cause: api.OnDemand})
		rest(ctx, bound) // until every node knows
		for ; ctx.Err() == nil; rest(ctx, 200*time.Millisecond) {
			open, err := r.open(ctx, t.name)
			if err == nil && len(open) == 0 {
				break
			}
			for _, o := range open {
				if o.State == "stuck" {
					return now, fmt.Errorf("a %s is stuck: %s %+v", o.Kind, o.Reason, o.LastError)
				}
			}
		}
		if now = t.current(); now != before {
			break
		}
	}
	if ctx.Err() != nil {
		open, err := r.open(context.WithoutCancel(ctx), t.name)
		return now, fmt.Errorf("it was not over within %s: %+v %v", rotationMost, open, err)
	}
	refused, err := t.login(ctx, now)
	if err != nil {
		return now, fmt.Errorf("the target does not accept what the vault holds for %s (refused: %v): %w", now.Username, refused, err)
	}
	if refused, err = t.login(ctx, before); !refused {
		return now, fmt.Errorf("the target still accepts %s, whose version was revoked: %v", before.Username, err)
	}
	return now, nil
}

// open lists the open runs of a secret, at a node that answers.
func (r *run) open(ctx context.Context, name string) (list []*api.Rotation, err error) {
	at := rand.N(len(r.natives))
	for o, err := range r.natives[at].Vault(strict).Rotations(ctx, client.RotationFilter{Name: name, Open: true}) {
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, nil
}

// judgeChanges compares what the target was made to accept with what the vault held, in order: no value is set that is not one that followed, and none comes back once
// another one was set. What belongs to no value of the vault has to be what a revocation sets, which nobody knows.
func (r *run) judgeChanges(t *target, known []login) {
	at := map[string]int{} // by account, the newest value that was set
	seen := map[int]bool{}
	var foreign, accepted int
	for _, c := range t.set() {
		match := -1
		for i, l := range known {
			if l.Username == c.account && t.matches(c.hash, l.Password) {
				match = i
				break
			}
		}
		if match < 0 {
			foreign++
			continue
		}
		if last, ok := at[c.account]; ok && match < last {
			r.wrong("%s: %s was set to the value of version %d again, after that of %d", t.name, c.account, match, last)
		}
		accepted++
		at[c.account], seen[match] = match, true
	}
	for i := 1; i < len(known); i++ {
		if !seen[i] {
			r.wrong("%s: nobody saw %s being set to the value of version %d", t.name, known[i].Username, i)
		}
	}
	// Each run revokes one account once, or several times when its node died; it sets nothing else.
	if most := 2*len(known) + 10; foreign > most {
		r.wrong("%s: %d values were set that no version has, for %d rotations", t.name, foreign, len(known)-1)
	}
	r.Logf("%s: %d rotations set %d values of versions, and %d that nobody knows", t.name, len(known)-1, accepted, foreign)
}

// renewals makes a certificate anew, again and again.
func (r *run) renewals(ctx context.Context) {
	const name = "web"
	type made struct{ version, sum string }
	var all []made
	r.finally(func(ctx context.Context) {
		for _, m := range all {
			var c *client.Certificate
			err := r.anywhere(ctx, func(i int) (err error) {
				c, err = r.natives[i].Vault(strict).Certificates().Get(ctx, name, client.Selector{Version: m.version})
				return err
			})
			if err != nil || c.SHA256 != m.sum {
				r.wrong("version %s of the certificate, which was made, is not there: %v", m.version, err)
			}
		}
	})
	in := client.CreateCertificate{Policy: &client.CertificatePolicy{Issuer: &api.CertificateIssuerRef{Name: "Self"}, X509: &api.CertificateX509{Subject: "CN=web.test", Months: 1},
		Key: &api.CertificateKey{Type: "EC", Curve: "P-256"}, ContentType: "application/x-pem-file"}}
	for ; ctx.Err() == nil; rest(ctx, 2*time.Second) {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), rotationMost)
		c, err := r.renew(within, name, in)
		cancel()
		if err != nil {
			r.wrong("making the certificate anew: %v", err)
			return
		}
		all = append(all, made{c.Version, c.SHA256})
		r.figures.renewals.Add(1)
		in = client.CreateCertificate{}
	}
}

func (r *run) renew(ctx context.Context, name string, in client.CreateCertificate) (*client.Certificate, error) {
	err := errors.New("nothing was tried")
	for ; ctx.Err() == nil; rest(ctx, 100*time.Millisecond) {
		certificates := r.natives[rand.N(len(r.natives))].Vault(strict).Certificates()
		var op *client.CertificateOperation
		if op, err = certificates.Create(ctx, name, in); err != nil {
			continue
		}
		for version := op.Version; ctx.Err() == nil && op.Status == api.CertificateInProgress; rest(ctx, 100*time.Millisecond) {
			now, err := r.natives[rand.N(len(r.natives))].Vault(strict).Certificates().Operation(ctx, name)
			if err == nil && now.Version == version { // a node may be a second behind
				op = now
			}
		}
		if op.Status != api.CertificateCompleted {
			return nil, fmt.Errorf("it is %s: %s %s", op.Status, op.Code, op.Message)
		}
		var c *client.Certificate
		if err = r.anywhere(ctx, func(i int) (err error) {
			c, err = r.natives[i].Vault(strict).Certificates().Get(ctx, name, client.Selector{Version: op.Version})
			return err
		}); err == nil {
			return c, nil
		}
	}
	return nil, errors.Join(err, ctx.Err())
}
