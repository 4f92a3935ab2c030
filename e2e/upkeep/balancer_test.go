package upkeep_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/devserver"
)

const (
	// lookEvery is how often the balancer looks whether a node is ready, and lookTime how long it waits for that.
	lookEvery = 100 * time.Millisecond
	lookTime  = time.Second
	// patience bounds how often a request is sent that nodes refuse because they have not heard from the database lately.
	patience = 20
)

// balancer sends requests to the nodes that are ready, in turns, and once more to another one when a node cannot be reached, breaks off, or answers 502, 503 or 504. That is what
// a load balancer does that looks at /readyz, or a client with several addresses.
type balancer struct {
	port  int
	nodes []*backend
	turn  atomic.Int64

	requests, retried, heldUp, failed atomic.Int64
	mu                                sync.Mutex
	failures                          []string
}

// backend is a node as the balancer sees it. Its server changes while it is ended and started.
type backend struct {
	address string
	http    atomic.Pointer[http.Client]
	ready   atomic.Bool
	answers atomic.Int64
	// looks counts those since the node was told to end that found it ready all the same; noticed is when the first one did not.
	looks   atomic.Int64
	noticed atomic.Int64
	// broken counts the requests to it, while it was ready, that found no connection or lost it.
	broken atomic.Int64
}

// told begins to watch how a node takes that it was told to end.
func (n *backend) told() { n.looks.Store(0); n.noticed.Store(0) }

// answer is what a node said.
type answer struct {
	status int
	body   []byte
	// later says that the node takes nothing for now, and says when it will.
	later bool
}

// refused says that another node may do better.
func (a *answer) refused() bool {
	return a == nil || a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout
}

// add puts a server behind the balancer.
func (b *balancer) add(s *devserver.Server) *backend {
	n := &backend{address: s.Listen}
	n.http.Store(s.HTTP)
	b.nodes = append(b.nodes, n)
	return n
}

// watch looks at the nodes until ctx ends.
func (b *balancer) watch(ctx context.Context) {
	var all sync.WaitGroup
	for _, n := range b.nodes {
		all.Go(func() {
			for ctx.Err() == nil {
				was := n.noticed.Load()
				is := b.look(ctx, n)
				if n.ready.Store(is); is {
					n.looks.Add(1)
				} else if was == 0 {
					n.noticed.CompareAndSwap(0, time.Now().UnixNano())
				}
				time.Sleep(lookEvery)
			}
		})
	}
	all.Wait()
}

func (b *balancer) look(ctx context.Context, n *backend) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	a, err := b.ask(ctx, n, "keywright", http.MethodGet, "/readyz", nil, "")
	return err == nil && a.status == http.StatusOK
}

// ask sends a request to one node.
func (b *balancer) ask(ctx context.Context, n *backend, host, method, path string, header http.Header, body string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("https://%s.localhost:%d%s", host, b.port, path), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	got, err := n.http.Load().Do(req)
	if err != nil {
		return nil, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		return nil, err
	}
	return &answer{got.StatusCode, text, got.StatusCode == http.StatusServiceUnavailable && got.Header.Get("Retry-After") != ""}, nil
}

// next chooses a node that is ready, and not the one that was asked before; without a ready one, any other.
func (b *balancer) next(not *backend) *backend {
	from := int(b.turn.Add(1))
	var other *backend
	for i := range b.nodes {
		switch n := b.nodes[(from+i)%len(b.nodes)]; {
		case n == not:
		case n.ready.Load():
			return n
		case other == nil:
			other = n
		}
	}
	return other
}

// send sends a request and returns its answer. One that no node took is noted as failed.
func (b *balancer) send(ctx context.Context, host, method, path string, header http.Header, body string) *answer {
	b.requests.Add(1)
	for tries := range patience {
		first := b.next(nil)
		ready := first.ready.Load()
		a, err := b.ask(ctx, first, host, method, path, header, body)
		n := first
		if err != nil && ready {
			first.broken.Add(1)
		}
		if err != nil || a.refused() {
			b.retried.Add(1)
			n = b.next(first)
			before := said(a, err)
			if a, err = b.ask(ctx, n, host, method, path, header, body); err != nil || a.refused() {
				if ctx.Err() != nil {
					return nil
				}
				if err == nil && a.later && tries < patience-1 {
					// None has heard from the database lately: that is the machine's doing. The long version counts it as a failure.
					b.heldUp.Add(1)
					time.Sleep(time.Second)
					continue
				}
				b.fail(fmt.Sprintf("%s %s: %s says %s, and %s %s", method, path, first.address, before, n.address, said(a, err)))
				return nil
			}
		}
		n.answers.Add(1)
		return a
	}
	return nil
}

func said(a *answer, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %.200s", a.status, a.body)
}

// fail notes a request that did not work.
func (b *balancer) fail(what string) {
	b.failed.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.failures) < 10 {
		b.failures = append(b.failures, what)
	}
}

// caller works with one vault behind the balancer.
type caller struct {
	*balancer
	tenant, id, secret string
	bearer             atomic.Pointer[string]
}

// token is had as applications have it.
func (c *caller) token(ctx context.Context) bool {
	resource := fmt.Sprintf("https://vault.keywright.localhost:%d", c.port)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.id}, "client_secret": {c.secret}, "scope": {resource + "/.default"}}
	a := c.send(ctx, "login.keywright", http.MethodPost, "/"+c.tenant+"/oauth2/v2.0/token", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form.Encode())
	if a == nil {
		return false
	}
	var out struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK || out.Token == "" {
		c.fail(fmt.Sprintf("a token: %d %s %v", a.status, a.body, err))
		return false
	}
	c.bearer.Store(&out.Token)
	return true
}

// call sends a request to the vault, and notes everything but 200 as a failure.
func (c *caller) call(ctx context.Context, method, path, body string) (value, version string, ok bool) {
	header := http.Header{"Authorization": {"Bearer " + *c.bearer.Load()}}
	if body != "" {
		header["Content-Type"] = []string{"application/json"}
	}
	a := c.send(ctx, vaultName+".vault.keywright", method, path+"?api-version=7.4", header, body)
	if a == nil {
		return "", "", false
	}
	var out struct{ Value, ID string }
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK {
		c.fail(fmt.Sprintf("%s %s: %d %s %v", method, path, a.status, a.body, err))
		return "", "", false
	}
	return out.Value, out.ID[strings.LastIndex(out.ID, "/")+1:], true
}

// written is what one writer's secret is.
type written struct {
	name string
	// acked counts the values that were acknowledged, begun those that were asked for.
	acked, begun atomic.Int64
	// versions are the ids of those that were acknowledged, by their numbers.
	versions []string
}

// traffic is reads, writes and sign-ins until it is stopped.
type traffic struct {
	*caller
	secrets []*written
	stop    func()
}

// flow starts the traffic.
func flow(t testing.TB, c *caller) *traffic {
	f := &traffic{caller: c}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { c.watch(ctx) })
	for w := range 4 {
		s := &written{name: fmt.Sprint("rolling-", w)}
		f.secrets = append(f.secrets, s)
	}
	whole := context.WithoutCancel(ctx)
	for _, s := range f.secrets {
		all.Go(func() {
			for ctx.Err() == nil && f.write(whole, s) {
				pause()
			}
		})
		all.Go(func() {
			for n := 0; ctx.Err() == nil && f.read(whole, s); n++ {
				if n%50 == 0 && !c.token(whole) {
					return
				}
				pause()
			}
		})
	}
	var once sync.Once
	f.stop = func() { once.Do(func() { cancel(); all.Wait() }) }
	t.Cleanup(f.stop)
	return f
}

// write sets the next value of a secret.
func (f *traffic) write(ctx context.Context, s *written) bool {
	n := s.begun.Add(1)
	_, version, ok := f.call(ctx, http.MethodPut, "/secrets/"+s.name, fmt.Sprintf(`{"value":%q}`, value(s.name, int(n))))
	if ok {
		s.versions = append(s.versions, version)
		s.acked.Store(n)
	}
	return ok
}

// read reads a secret: a value that was asked for, and whole.
func (f *traffic) read(ctx context.Context, s *written) bool {
	least := s.acked.Load()
	if least == 0 {
		time.Sleep(time.Millisecond)
		return true
	}
	got, _, ok := f.call(ctx, http.MethodGet, "/secrets/"+s.name, "")
	var n int64
	if ok {
		if _, err := fmt.Sscanf(strings.TrimPrefix(got, s.name), "/%d/", &n); err != nil || got != value(s.name, int(n)) || n > s.begun.Load() {
			f.fail(fmt.Sprintf("%s has a value that nobody set", s.name))
			return false
		}
	}
	return ok
}

// settled reads every version that was acknowledged.
func (f *traffic) settled(ctx context.Context) (versions int) {
	for _, s := range f.secrets {
		for i, version := range s.versions {
			got, _, ok := f.call(ctx, http.MethodGet, "/secrets/"+s.name+"/"+version, "")
			if ok && got != value(s.name, i+1) {
				f.fail(fmt.Sprintf("the version %s of %s has another value than was set", version, s.name))
			}
			versions++
		}
	}
	return versions
}
