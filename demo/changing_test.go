package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/pgtest"
)

// greeter is a server that says a word to each connection, and then its first line back.
func greeter(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				line, _ := bufio.NewReader(conn).ReadString('\n')
				fmt.Fprint(conn, "you said ", line)
			}()
		}
	}()
	return l.Addr().String()
}

func ask(t *testing.T, address string) (string, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp4", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(conn, "hello")
	return bufio.NewReader(conn).ReadString('\n')
}

func TestGate(t *testing.T) {
	g, err := openGate(greeter(t))
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	passes := func() error {
		if answer, err := ask(t, g.address()); answer != "you said hello\n" {
			return fmt.Errorf("%q, %w", answer, err)
		}
		return nil
	}
	if err := passes(); err != nil {
		t.Errorf("without anything to do: %v", err)
	}
	calls := 0
	if err := g.meanwhile(func(context.Context) error { calls++; return nil }, passes); err != nil || calls != 1 {
		t.Errorf("something was done %d times before one connection: %v", calls, err)
	}
	shut := func() error {
		if answer, err := ask(t, g.address()); err == nil {
			return fmt.Errorf("a shut gate let somebody through, who heard %q", answer)
		}
		return nil
	}
	if err := g.meanwhile(func(context.Context) error { return errShut }, shut); err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	if err := g.meanwhile(func(context.Context) error { return broken }, shut); !errors.Is(err, broken) {
		t.Errorf("what goes wrong in between is not told: %v", err)
	}
	if err := passes(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Whatever fails under the application makes the demo fail, and what the end of the demo cuts off does not.
func TestFailuresOfTheApplicationCount(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), "postgres://app:app@127.0.0.1:1/app?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	dsn := func(string, string, string) string { return "postgres://app:app@127.0.0.1:1/app?sslmode=disable" }
	i := &instance{name: "shop", from: firstMachine, pool: pool, current: &credential{}, dsn: dsn, tally: &tally{}}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	i.query(over)
	i.signIn(over)
	if err := i.tally.check(); err != nil {
		t.Errorf("after the end: %v", err)
	}
	i.query(t.Context())
	i.signIn(t.Context())
	if n := i.tally.failures.Load(); n != 2 || i.tally.check() == nil {
		t.Errorf("a failed query and a failed login are %d failures: %v", n, i.tally.check())
	}
}

func TestReadCredential(t *testing.T) {
	for value, good := range map[string]bool{
		`{"username":"shop_a","password":"x"}`: true, `{"username":"shop_a"}`: false, `{"password":"x"}`: false, `x`: false, ``: false,
	} {
		text := api.Text(value)
		if _, err := readCredential(&client.Secret{Name: "s", Version: "v", Value: &text}); (err == nil) != good {
			t.Errorf("%q gave %v", value, err)
		}
	}
}

func TestOnlyAnswersAreFailures(t *testing.T) {
	for _, c := range []struct {
		err  error
		away bool
	}{
		{errors.New("connection refused"), true},
		{fmt.Errorf("reading: %w", &client.Error{Kind: client.Unavailable}), true},
		{fmt.Errorf("reading: %w", &client.Error{Kind: client.Forbidden}), false},
		{&client.Error{Kind: client.NotFound}, false},
	} {
		if unreachable(c.err) != c.away {
			t.Errorf("%v counts as unreachable: %v", c.err, !c.away)
		}
	}
}

func TestMoves(t *testing.T) {
	at := time.Now()
	r := &api.Rotation{Kind: api.RotationRun}
	for n, s := range [][3]string{{"", "queued", ""}, {"queued", "setting", "A"}, {"setting", "testing", "B"}, {"testing", "setting", "C"}, {"setting", "testing", "B"},
		{"testing", "setting", "C"}, {"setting", "aborted", "D"}} {
		r.Steps = append(r.Steps, api.RotationStep{At: at.Add(time.Duration(n) * time.Second), From: s[0], To: s[1], Reason: s[2]})
	}
	var got []string
	for _, l := range moves(r) {
		got = append(got, l.text)
	}
	want := []string{"rotation: queued", "  -> setting  (A)", "  -> testing  (B)", "  -> setting  (C)", "  -> aborted  (D), after 2 moves like those before"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if n := entered(r, "testing"); n != 2 {
		t.Errorf("it tested %d times, want 2", n)
	}
}

// The demo's own proofs are made against a real server: a dead credential is one that the server refuses, and nothing else.
func TestDeadCredentials(t *testing.T) {
	c := &changing{database: pgtest.Run(t)}
	ctx := t.Context()
	if err := c.database.Exec(ctx, "CREATE ROLE shop_a LOGIN PASSWORD 'first'", "CREATE DATABASE "+shopDatabase); err != nil {
		t.Fatal(err)
	}
	login := &credential{version: "0123456789abcdef", User: "shop_a", Password: "first"}
	if err := c.mustRefuse(ctx, login); err == nil {
		t.Error("a credential that works counts as dead")
	}
	role, err := c.watchRole(ctx, "shop_a")
	if err != nil {
		t.Fatal(err)
	}
	defer role.close(ctx)
	if changed, err := role.changed(ctx); changed || err != nil {
		t.Errorf("without a change: %v, %v", changed, err)
	}
	if err := c.database.Exec(ctx, "ALTER ROLE shop_a PASSWORD 'second'"); err != nil {
		t.Fatal(err)
	}
	if changed, err := role.changed(ctx); !changed || err != nil {
		t.Errorf("after a change: %v, %v", changed, err)
	}
	if err := c.mustRefuse(ctx, login); err != nil {
		t.Errorf("the password before: %v", err)
	}
	login.Password = "second"
	if err := role.spoil(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.mustRefuse(ctx, login); err != nil {
		t.Errorf("a spoilt password: %v", err)
	}
	if changed, err := role.changed(ctx); changed || err != nil {
		t.Errorf("its own hand counts as another's: %v, %v", changed, err)
	}
	if err := c.database.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := c.mustRefuse(ctx, login); err == nil {
		t.Error("a server that is away counts as one that refuses")
	}
}

// A consumer behind its own address is what the database shows.
func TestMachinesHaveAddresses(t *testing.T) {
	database := pgtest.Run(t)
	conn, err := machine(firstMachine).connect(t.Context(), database.AdminDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var from string
	err = conn.QueryRow(t.Context(), "SELECT host(client_addr) FROM pg_stat_activity WHERE pid = pg_backend_pid()").Scan(&from)
	if want := fmt.Sprint("127.0.0.", firstMachine); err != nil || from != want {
		t.Errorf("the database sees %s, %v; want %s", from, err, want)
	}
}
