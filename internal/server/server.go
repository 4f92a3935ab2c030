package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/auditing"
	"github.com/keywright/keywright/internal/backup"
	"github.com/keywright/keywright/internal/backup/full"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/composition"
	"github.com/keywright/keywright/internal/consumer"
	"github.com/keywright/keywright/internal/directory"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/azure"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/enrolment"
	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/eventing"
	"github.com/keywright/keywright/internal/feed"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/mail"
	"github.com/keywright/keywright/internal/membership"
	"github.com/keywright/keywright/internal/node"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator/webhook"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/token/pkcs11"
	"github.com/keywright/keywright/internal/vault"
)

// What an end may take in all, and how long requests under way may go on in it. Whoever sent SIGTERM expects the end within five
// seconds. A connection on which no request has begun is closed a moment after: its request may be on the way.
const (
	drainTimeout = 3 * time.Second
	// shutdownSlack is for everything but requests.
	shutdownSlack = 1500 * time.Millisecond
	// closeTimeout is both together, for a server that sets no time of its own.
	closeTimeout = drainTimeout + shutdownSlack
	newTimeout   = 250 * time.Millisecond
)

// core is everything below the doors.
type core struct {
	log *slog.Logger
	// leaving says that the server is about to end.
	leaving atomic.Bool
	// slow is how long a request takes that is logged as slow; none is when it is negative.
	slow time.Duration
	// slowLines bounds how many of those are logged.
	slowLines *rate.Limiter
	clock     clock.Clock
	// region is the location of what names none.
	region string
	store  store.Store
	// storeAlarm says what an operator has to see to although the store works.
	storeAlarm func() error
	dumper     store.Dumper
	// storeWaits tells how long callers of the store wait for their turn.
	storeWaits func() store.Waits
	keys       *keyring.Keyring
	sealing    *sealing
	guard      *guard.Guard
	identity   *identity.Service
	secrets    *secret.Service
	cryptoKeys *key.Service
	// token holds the keys of -HSM types; nil when there is none.
	token        *pkcs11.Token
	certificates *cert.Service
	enrolment    *enrolment.Service
	issuers      *issuers
	feed         *feed.Feed
	journal      *journalRows
	metrics      *metrics
	nodes        *node.Registry
	// shared says that other nodes may work on the store too, turn whose turn it is for what only one of them may do.
	shared bool
	turn   *node.Turn
	// late counts requests that were refused because the node was behind the store.
	late   atomic.Int64
	tracer *tracer
	audit  *auditor
	// reader reads the audit logs of all nodes, auditKept is how long what was shipped of them stays; 0 is for ever.
	reader    *archive.Reader
	auditKept time.Duration

	connections connections
	bodies      bodies
	admission   *admission.Control

	tenancy   *tenancy.Service
	access    *access.Service
	directory *directory.Service
	backups   *backup.Service
	// fullBackups are of the whole installation.
	fullBackups *full.Service
	auditing    *auditing.Service
	membership  *membership.Service
	events      *event.Service
	eventing    *eventing.Service
	expiries    []*object.Expiries
	ledger      *ledger.Ledger
	consumers   *consumer.Service
	engine      *rotation.Engine
	rotation    *rotation.Service
	composed    *composition.Service
	endpoints   *endpoint.Service
	// mail is nil without a relay.
	mail   *mail.Outbox
	values *webhook.Values

	// caches hear of commits, flushes of commits that were missed.
	caches  []func(*store.Commit)
	flushes []func()
	closers []func(context.Context) error
}

// openCore opens what is in a directory, for a server that targets reach at the URL base, in the order of the layers, and hooks the caches to the store's commits.
func openCore(ctx context.Context, c *Config, issuer func(vault.TenantID) string, base string, links event.Links) (_ *core, err error) {
	k := &core{log: c.Logger, slow: c.SlowRequest, slowLines: slowLines(), clock: c.Clock, region: c.Region}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.close(context.Background()))
		}
	}()
	var flush func(context.Context) error
	if k.tracer, flush, err = newTracer(ctx, c.TraceEndpoint, c.Logger); err != nil {
		return nil, err
	}
	k.onShutdown(flush)
	if err := c.find(ctx); err != nil {
		return nil, err
	}
	opened, err := openEngine(ctx, c)
	if err != nil {
		return nil, err
	}
	k.onClose(opened.Close)
	k.storeAlarm, k.storeWaits = opened.Alarm, opened.Waits
	k.shared = c.Store.DSNFile != ""
	k.store, k.dumper = k.tracer.store(opened, "store"), opened
	if err := c.admit(ctx, k.store); err != nil {
		return nil, err
	}
	s, closeSeal, err := openSeal(ctx, c, k.store)
	if err != nil {
		return nil, err
	}
	k.onClose(closeSeal)
	if err := k.unseal(ctx, c, s); err != nil {
		return nil, err
	}
	custody := new(key.Custody)
	if k.keys, err = keyring.Open(ctx, keyring.Config{Store: k.tracer.store(opened, "keyring"), Seal: s, Clock: c.Clock,
		BackupsKept: c.BackupsKept, Customers: custody}); err != nil {
		return nil, err
	}
	k.store = k.keys.Checked(k.store)
	if err := k.openNode(ctx, c); err != nil {
		return nil, err
	}
	if k.audit, err = k.openAuditor(ctx, c); err != nil {
		return nil, err
	}
	k.metrics = newMetrics()
	k.bodies.most, k.bodies.refused = c.Limits.MaxBodyMemory, func() { k.metrics.throttled.count("bodies") }
	k.audit.signIn = k.metrics.signIn
	if err := k.openAdmission(c); err != nil {
		return nil, err
	}
	if k.guard, err = guard.New(guard.Config{Store: k.store, Audit: k.audit, Clock: c.Clock, Logger: c.Logger, Limits: c.Limits.Limits,
		Denied: k.metrics.denied.count, TooOften: k.metrics.throttled.count, Age: k.ageOfShared(), Late: func() { k.late.Add(1) }}); err != nil {
		return nil, err
	}
	k.keys.Maintainer(k.turn.Fence, k.destroyedKeys)
	if err := k.sealing.opened(ctx, k.keys, k.guard); err != nil {
		return nil, err
	}
	if k.identity, err = identity.New(identity.Config{Store: k.store, Keys: k.keys, Auditor: k.audit, Clock: c.Clock, Logger: c.Logger,
		Dial: issuerNetwork(c).Dial, Issuer: issuer, MyTurn: k.turn.Mine, Locked: k.metrics.locked.count}); err != nil {
		return nil, err
	}
	if k.secrets, err = secret.New(secret.Config{Guard: k.guard, Store: k.store, Keys: k.keys, Clock: c.Clock,
		MaxValueBytes: c.Limits.MaxSecretBytes, MaxVersions: c.Limits.MaxVersions, MaxBackupBytes: c.Limits.MaxBackupBytes,
		Pends: func(ctx context.Context, tx store.Tx, call *guard.Call, o *vault.Object, ver *vault.Version) ([]vault.Label, error) {
			return k.engine.Pends(ctx, tx, call, o, ver)
		},
		Dated: func(ctx context.Context, tx store.Tx, o *vault.Object, ver *vault.Version) error {
			return k.engine.Redate(ctx, tx, o, ver)
		},
		Pack: func(ctx context.Context, tx store.Tx, o *vault.Object) ([]byte, error) {
			return k.composed.Pack(ctx, tx, o)
		},
		Unpack: func(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, packed []byte) error {
			return k.composed.Unpack(ctx, tx, v, o, packed)
		},
		Admit: func(ctx context.Context, call *guard.Call, packed []byte) error {
			return k.composed.Admit(ctx, call, packed)
		}}); err != nil {
		return nil, err
	}
	if err := k.openToken(c); err != nil {
		return nil, err
	}
	if k.cryptoKeys, err = key.New(key.Config{Guard: k.guard, Store: k.store, Keys: k.keys, Clock: c.Clock, Logger: c.Logger,
		MaxVersions: c.Limits.MaxVersions, MaxBackupBytes: c.Limits.MaxBackupBytes, Attestations: k.identity, Token: k.keysToken(), Custody: custody}); err != nil {
		return nil, err
	}
	if err := k.openMail(c); err != nil {
		return nil, err
	}
	k.issuers = newIssuers(c.Clock, k.store, c.ChallengeNames)
	if k.certificates, err = cert.New(cert.Config{Guard: k.guard, Store: k.store, Sealing: k.keys, Clock: c.Clock, Logger: c.Logger, Keys: k.cryptoKeys, Secrets: k.secrets,
		Issuers: k.issuers, Mail: k.letters(), MaxVersions: c.Limits.MaxVersions, MaxBackupBytes: c.Limits.MaxBackupBytes}); err != nil {
		return nil, err
	}
	if k.enrolment, err = enrolment.New(enrolment.Config{Guard: k.guard, Store: k.store, Sealing: k.keys, Clock: c.Clock, Certificates: k.certificates}); err != nil {
		return nil, err
	}
	if err := k.openServices(c, base); err != nil {
		return nil, err
	}
	// The feed is the last to hear: what it tells is asked of the others.
	k.caches = []func(*store.Commit){k.keys.Changed, k.identity.Changed, k.guard.Changed, k.secrets.Changed, k.cryptoKeys.Changed, k.certificates.Changed, k.feed.Changed}
	k.flushes = []func(){k.keys.Flush, k.identity.Flush, k.guard.Flush, k.secrets.Flush, k.cryptoKeys.Flush, k.certificates.Flush}
	k.onClose(wrapStop(k.store.Watch(k.changed)))
	if err := k.openEvents(c, links); err != nil {
		return nil, err
	}
	if err := k.fullBackups.RecordRestore(ctx); err != nil {
		return nil, err
	}
	k.metrics.watch(k)
	k.startRotation()
	k.onClose(wrapStop(k.store.Watch(k.composed.Changed)))
	k.background(k.feed.Run)
	k.background(k.watchEndpoints)
	if k.mail != nil {
		k.onClose(wrapStop(k.store.Watch(k.mail.Changed)))
		k.background(k.mail.Run)
	}
	k.takeTurns()
	return k, nil
}

// changed tells every cache of a commit, before the change is acknowledged.
func (k *core) changed(c *store.Commit) {
	if c.Flush {
		k.log.Warn("this node missed changes, or saw some that the store has lost: it forgets what it remembers", "node", k.nodes.ID, "position", c.Position)
		for _, flush := range k.flushes {
			flush()
		}
	}
	for _, changed := range k.caches {
		changed(c)
	}
	if len(c.Audit) > 0 {
		k.audit.sequencer.Wake()
	}
}

func wrapStop(stop func()) func() error {
	return func() error {
		stop()
		return nil
	}
}

func (k *core) onClose(f func() error) { k.onShutdown(func(context.Context) error { return f() }) }

// onShutdown is onClose for what may take as long as the context lets it.
func (k *core) onShutdown(f func(context.Context) error) { k.closers = append(k.closers, f) }

// background runs fn until the core is closed, which waits for it.
func (k *core) background(fn func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { fn(ctx) })
	k.onClose(func() error {
		cancel()
		done.Wait()
		return nil
	})
}

// close releases everything in the opposite order of its opening. The context is one bound for all of it together.
func (k *core) close(ctx context.Context) error {
	var errs []error
	for i := len(k.closers) - 1; i >= 0; i-- {
		errs = append(errs, k.closers[i](ctx))
	}
	k.closers = nil
	return errors.Join(errs...)
}

// Server is a running server.
type Server struct {
	config    Config
	core      *core
	listeners []net.Listener
	// mu guards servers, to which none is added once closing is set.
	mu      sync.Mutex
	closing bool
	servers []*http.Server
	silent  silentConns

	serving sync.WaitGroup
	// hurry is closed when a listener has failed: there is nobody left to be told that the server ends.
	hurry     chan struct{}
	hurryOnce sync.Once
	failed    chan error
	closeOnce sync.Once
	closeErr  error
}

// serve answers on the listener until Close, or until the returned server is closed.
func (s *Server) serve(l net.Listener, h http.Handler, config *tls.Config, way door.Listener) *http.Server {
	l = s.core.connections.limit(l, s.config.Limits.MaxConnections)
	h = s.core.farewell(s.core.bodies.handler(h))
	if config != nil {
		l = tls.NewListener(l, config)
	}
	server := &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return onListener(way) },
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnState:         s.silent.changed,
		ErrorLog:          slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		l.Close()
		return server
	}
	s.servers = append(s.servers, server)
	s.serving.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.hurryOnce.Do(func() { close(s.hurry) })
			select {
			case s.failed <- fmt.Errorf("serving %s: %w", l.Addr(), err):
			default:
			}
		}
	})
	return server
}

// answerTimeout is how long after its header a request may take, answer included: who does not read an answer must not hold its
// buffers for ever. It leaves as long for the answer as for the body before it. Answers that may take longer move it.
const answerTimeout = 2 * time.Minute

// Failed delivers the error of a listener that ended by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Close ends the server: it announces its end for as long as it was configured, takes no new requests then, lets those under way finish for some
// seconds, and closes what is open. It may be called more than once. It returns within five seconds of the announcement, whatever hangs; what was
// acknowledged is safe without an orderly end.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		s.announce()
		whole := s.config.Drain + shutdownSlack
		ctx, cancel := context.WithTimeout(context.Background(), whole)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			s.core.feed.End()
			s.drain(ctx)
			done <- s.core.close(ctx)
		}()
		select {
		case s.closeErr = <-done:
		case <-ctx.Done():
			s.closeErr = fmt.Errorf("the server did not end in order within %s: the next start recovers what is open; look for a disk or a "+
				"trace collector that hangs", whole)
		}
	})
	return s.closeErr
}

// announce tells that the server is about to end, and goes on serving: it is not ready any more, and every connection closes behind its next answer. Whoever
// looks where requests can go has time to send them elsewhere, and none finds a listener that is gone.
func (s *Server) announce() {
	s.core.leaving.Store(true)
	if s.config.Announce == 0 {
		return
	}
	s.config.Logger.Info("ending soon: the server is not ready any more, and goes on serving for a while", "for", s.config.Announce)
	select {
	case <-time.After(s.config.Announce):
	case <-s.hurry:
	}
}

// farewell closes connections behind their answers once the server is about to end.
func (k *core) farewell(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if k.leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// drain ends the listeners and waits for the requests under way.
func (s *Server) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Drain)
	defer cancel()
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	var ending sync.WaitGroup
	for _, server := range s.servers {
		ending.Go(func() {
			if server.Shutdown(ctx) != nil {
				server.Close()
			}
		})
	}
	hangUp := time.AfterFunc(newTimeout, s.silent.close)
	defer hangUp.Stop()
	ending.Wait()
	s.serving.Wait()
}

// vaultDoor makes the data-plane door.
func (s *Server) vaultDoor(n *names, address func(string) (string, bool), tenant vault.TenantID) (http.Handler, error) {
	k := s.core
	return azure.New(azure.Config{Hosts: n.vaultHosts(address), Guard: k.guard, Callers: k.identity, Secrets: k.secrets, Keys: k.cryptoKeys, Certificates: k.certificates,
		Access: k.access, Tenancy: k.tenancy, Backups: k.backups, Clock: k.clock,
		Logger: k.log, DefaultTenant: tenant, Region: s.config.Region,
		Enter: k.enter, Observe: k.observe})
}

func mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory %s: %w", dir, err)
	}
	return nil
}
