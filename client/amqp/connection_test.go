package amqp_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/amqp"
	"github.com/keywright/keywright/client/keywrighttest"
	"github.com/keywright/keywright/e2e/changeover"
)

func open(t *testing.T, s changeover.RabbitMQ, v *client.Value) *amqp.Broker {
	t.Helper()
	b, err := amqp.Open(t.Context(), amqp.Config{Value: v, URL: s.AMQP(), Drain: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// publish sends one message and waits until the broker has it.
func publish(ctx context.Context, ch *amqp091.Channel) error {
	if err := ch.Confirm(false); err != nil {
		return err
	}
	c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", "orders", false, false, amqp091.Publishing{Body: []byte("x")})
	if err != nil {
		return err
	}
	ok, err := c.WaitContext(ctx)
	if err == nil && !ok {
		err = errors.New("the broker did not take the message")
	}
	return err
}

// TestRabbitMQ starts a broker, which takes seconds, for all.
func TestRabbitMQ(t *testing.T) {
	target := changeover.StartRabbitMQ(t)
	for name, test := range map[string]func(*testing.T, changeover.RabbitMQ){"changes over": changesOver, "a lease outlives the change": leaseOutlives,
		"an error spoils no other's channel": errorSpoils, "a refusal is told": refusalIsTold} {
		t.Run(name, func(t *testing.T) { test(t, target) })
	}
}

// changesOver publishes and gets.
func changesOver(t *testing.T, s changeover.RabbitMQ) {
	changeover.Run(t, s, func(v *client.Value) func(context.Context) error {
		b := open(t, s, v)
		if err := b.Do(t.Context(), func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("orders", false, false, false, false, nil)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return func(ctx context.Context) error {
			return b.Do(ctx, func(ch *amqp091.Channel) error {
				if err := publish(ctx, ch); err != nil {
					return err
				}
				_, _, err := ch.Get("orders", true)
				return err
			})
		}
	})
}

// start gives a broker that is signed in with the first credential.
func start(t *testing.T, target changeover.RabbitMQ) (*keywrighttest.Server, *client.Value, *amqp.Broker) {
	t.Helper()
	s := keywrighttest.Start(t)
	value, err := target.Widen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.SetSecret("broker", value)
	v, err := client.NewValue(t.Context(), client.ValueConfig{Vault: s.Client().Vault(s.VaultName()), Name: "broker", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return s, v, open(t, target, v)
}

func leaseOutlives(t *testing.T, target changeover.RabbitMQ) {
	s, _, b := start(t, target)
	old, err := b.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	value, err := target.Widen(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	version := s.SetSecret("broker", value)
	select {
	case <-old.Retiring():
	case <-time.After(time.Minute):
		t.Fatal("nobody says that the connection is retiring")
	}
	next, err := b.Acquire(t.Context())
	if err != nil || next.Version() != version || old.Version() == version {
		t.Fatalf("the next lease is of version %s, %v", next.Version(), err)
	}
	if old.Connection().IsClosed() {
		t.Error("a connection in use was closed")
	}
	old.Release()
	old.Release()
	closed := old.Connection().NotifyClose(make(chan *amqp091.Error, 1))
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("a connection that nobody uses stays open")
	}
	next.Release()
	// A connection that breaks is replaced too.
	next.Connection().Close()
	if err := b.Do(t.Context(), func(*amqp091.Channel) error { return nil }); err != nil {
		t.Errorf("behind a broken connection: %v", err)
	}
	b.Close()
	b.Close()
	if _, err := b.Acquire(t.Context()); !errors.Is(err, amqp.ErrClosed) {
		t.Errorf("a closed broker leases: %v", err)
	}
}

func errorSpoils(t *testing.T, target changeover.RabbitMQ) {
	_, _, b := start(t, target)
	for range 3 {
		err := b.Do(t.Context(), func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclarePassive("absent", false, false, false, false, nil)
			return err
		})
		var e *amqp091.Error
		if !errors.As(err, &e) || e.Code != amqp091.NotFound {
			t.Errorf("a queue that is not there: %v", err)
		}
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := b.Do(t.Context(), func(ch *amqp091.Channel) error { return publish(t.Context(), ch) }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func refusalIsTold(t *testing.T, target changeover.RabbitMQ) {
	_, v, _ := start(t, target)
	if err := target.Narrow(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	_, err := amqp.Open(t.Context(), amqp.Config{Value: v, URL: target.AMQP()})
	if !amqp.Refused(err) {
		t.Errorf("a credential that is gone: %v", err)
	}
	if c, perr := client.ParseCredential(v.Current()); perr != nil || strings.Contains(err.Error(), c.Password) {
		t.Error("the error tells the password")
	}
	if _, err := amqp.Open(t.Context(), amqp.Config{Value: v, URL: "http://x"}); err == nil {
		t.Error("a URL of another protocol is taken")
	}
}
