package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/e2e/daemon"
	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/pgtest"
)

// databasePort is that of both hosts: who takes the place of a server that is gone has its address.
const databasePort = 5432

// pair is a primary database and its synchronous standby.
type pair struct {
	primary, standby site
}

// site is a server with its host.
type site struct {
	*pgtest.Server
	host *netns.Host
}

var databaseSettings = []string{
	"max_connections = 100", "shared_buffers = 64MB",
	"wal_keep_size = 256MB",
	"wal_retrieve_retry_interval = 500ms", // a standby looks for its primary so often
	"wal_sender_timeout = 5s", "wal_receiver_timeout = 5s",
}

func (s *site) config() pgtest.Config {
	return pgtest.Config{Durable: true, Settings: databaseSettings, Host: s.host.Address, Port: databasePort, Within: s.host.Within}
}

func newPair(t testing.TB, lan *netns.LAN) *pair {
	t.Helper()
	p := &pair{primary: site{host: lan.Host(t)}, standby: site{host: lan.Host(t)}}
	p.primary.Server = daemon.Run(t, func(ctx context.Context) (*pgtest.Server, error) { return pgtest.Start(ctx, p.primary.config()) })
	t.Cleanup(func() { // before that
		if p.standby.Server != nil {
			_ = p.standby.Stop()
		}
		_ = p.primary.Stop()
	})
	must(t, p.follow(t.Context()))
	must(t, p.primary.Exec(t.Context(), "CREATE ROLE keywright LOGIN PASSWORD 'keywright'", "CREATE DATABASE keywright OWNER keywright"))
	return p
}

// follow makes a standby at the other host, for which every commit waits from then on.
func (p *pair) follow(ctx context.Context) (err error) {
	if p.standby.Server, err = p.primary.StandbyAt(ctx, p.standby.config()); err != nil {
		return err
	}
	if err := p.primary.Synchronous(ctx); err != nil {
		return err
	}
	return p.synchronous(ctx)
}

// synchronous waits until the standby is one on which commits wait.
func (p *pair) synchronous(ctx context.Context) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		state, err := p.replication(ctx)
		switch {
		case err == nil && state == "sync":
			return nil
		case time.Now().After(end) || ctx.Err() != nil:
			return fmt.Errorf("the standby is no synchronous one: %q, %v", state, err)
		}
	}
}

func (p *pair) replication(ctx context.Context) (state string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.primary.AdminDSN())
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, "SELECT coalesce(string_agg(sync_state, ','), '') FROM pg_stat_replication").Scan(&state)
	return state, err
}

// dsn names both hosts, of which the primary is meant.
func (p *pair) dsn() string {
	hosts := []string{fmt.Sprint(p.primary.host.Address, ":", databasePort), fmt.Sprint(p.standby.host.Address, ":", databasePort)}
	return "postgres://keywright:keywright@" + strings.Join(hosts, ",") + "/keywright?target_session_attrs=read-write&sslmode=disable"
}

// restart ends the primary with a signal and starts it again.
func (p *pair) restart(ctx context.Context, sig syscall.Signal, down time.Duration) error {
	if err := p.primary.Halt(sig); err != nil {
		return err
	}
	time.Sleep(down)
	return p.primary.Restart(ctx)
}

// failOver fences the primary, which is alive and well, and makes the standby the primary.
func (p *pair) failOver(ctx context.Context) error {
	if err := p.primary.host.Cut(); err != nil {
		return err
	}
	if err := p.standby.Promote(ctx); err != nil {
		return err
	}
	p.primary, p.standby = p.standby, p.primary
	return nil
}

// replace ends the primary that was fenced, and makes a standby in its place.
func (p *pair) replace(ctx context.Context) error {
	_ = p.standby.Halt(syscall.SIGKILL)
	if err := p.standby.Stop(); err != nil {
		return err
	}
	if err := p.standby.host.Heal(); err != nil {
		return err
	}
	return p.follow(ctx)
}
