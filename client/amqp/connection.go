// Package amqp keeps a connection to RabbitMQ, or another broker of AMQP 0-9-1, signed in with a secret that changes.
//
// When the secret has a new version, or the connection breaks, a new one is opened first; who asks from then on gets that, and the old one is closed when
// nobody uses it any more:
//
//	broker, err := amqp.Open(ctx, amqp.Config{Value: value, URL: "amqps://broker/shop"})
//	err = broker.Do(ctx, func(ch *amqp091.Channel) error { return ch.PublishWithContext(ctx, "", "orders", false, false, message) })
//
// Who consumes takes a Lease, and opens its consumer anew when Lease.Retiring says so: deliveries that were not acknowledged by then are delivered again, as
// AMQP has it.
package amqp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/keywright/keywright/client"
)

// Config makes a Broker. Value and URL are required.
type Config struct {
	Value *client.Value
	// URL is the broker's, with the virtual host and without a credential.
	URL string
	// User is who signs in where the secret is only a password.
	User string
	// AMQP is the rest of the configuration; its SASL is replaced.
	AMQP amqp091.Config
	// Drain is how long a retired connection waits for its users; DefaultDrain when zero.
	Drain  time.Duration
	Logger *slog.Logger
}

// DefaultDrain is how long a retired connection waits for its users.
const DefaultDrain = time.Minute

// ErrClosed says that the Broker was closed.
var ErrClosed = errors.New("amqp: the broker's connection was closed")

// Broker holds the connection. It is safe for concurrent use.
type Broker struct {
	config Config
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	current *generation
	closed  bool
	// renewed is closed and replaced when current is, and closed for good with the Broker.
	renewed chan struct{}
}

// Open connects, and keeps connected until Close.
func Open(ctx context.Context, c Config) (*Broker, error) {
	if c.Value == nil || c.URL == "" {
		return nil, errors.New("the broker needs a value and a URL")
	}
	uri, err := amqp091.ParseURI(c.URL)
	if err != nil {
		return nil, errors.New("the broker's URL cannot be read: write it as amqps://HOST[:PORT]/VHOST")
	}
	if c.AMQP.Vhost == "" {
		c.AMQP.Vhost = uri.Vhost
	}
	if c.Drain == 0 {
		c.Drain = DefaultDrain
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Broker{config: c, renewed: make(chan struct{})}
	first, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	b.current = first
	run, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.done.Go(func() { b.follow(run) })
	return b, nil
}

// Close closes the connection, whoever uses it, and waits until everything has ended.
func (b *Broker) Close() {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	close(b.renewed)
	last := b.current
	b.mu.Unlock()
	b.cancel()
	last.retire(0)
	b.done.Wait()
}

// connect signs in, with the newer version or the candidate where the broker refuses the current one.
func (b *Broker) connect(ctx context.Context) (*generation, error) {
	var g *generation
	err := b.config.Value.SignIn(ctx, func(_ context.Context, s *client.Secret) error {
		credential, err := client.ParseCredential(s)
		if err != nil {
			return err
		}
		if credential = credential.Or(b.config.User); credential.User == "" {
			return client.ErrNoUser
		}
		config := b.config.AMQP
		config.SASL = []amqp091.Authentication{&amqp091.PlainAuth{Username: credential.User, Password: credential.Password}}
		conn, err := amqp091.DialConfig(b.config.URL, config)
		if err != nil {
			return fmt.Errorf("connecting to the broker: %w", err)
		}
		g = newGeneration(conn, s.Version)
		return nil
	}, Refused)
	return g, err
}

// Refused reports whether the broker refused the credential (reply 403, ACCESS_REFUSED). Without the extension for notified failures a broker only
// closes the connection during the handshake, which the library tells as ErrCredentials.
func Refused(err error) bool {
	var e *amqp091.Error
	return errors.As(err, &e) && e.Code == amqp091.AccessRefused
}

// Bounds of the pause before the next attempt to connect.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 30 * time.Second
)

// follow opens a new connection when the version changes or the connection breaks.
func (b *Broker) follow(ctx context.Context) {
	failed := 0
	for {
		changed, current := b.config.Value.Changed(), b.generation()
		if current.alive() && b.config.Value.Current().Version == current.version {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-current.broken:
			}
		}
		next, err := b.connect(ctx)
		if ctx.Err() != nil {
			if next != nil {
				next.retire(0)
			}
			return
		}
		if err != nil {
			failed++
			b.config.Logger.Warn("the broker cannot be reached or refuses; it is tried again", "tries", failed, "error", err)
			pause := min(maxPause, firstPause<<min(failed, 10))
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause/2 + rand.N(pause/2)):
			}
			continue
		}
		failed = 0
		b.swap(next)
	}
}

func (b *Broker) generation() *generation {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current
}

func (b *Broker) swap(next *generation) {
	b.mu.Lock()
	old := b.current
	if b.closed {
		b.mu.Unlock()
		next.retire(0)
		return
	}
	b.current = next
	close(b.renewed)
	b.renewed = make(chan struct{})
	b.mu.Unlock()
	b.done.Go(func() { old.retire(b.config.Drain) })
}
