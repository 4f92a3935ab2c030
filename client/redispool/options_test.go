package redispool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/keywrighttest"
	"github.com/keywright/keywright/client/redispool"
	"github.com/keywright/keywright/e2e/changeover"
)

func open(t *testing.T, o *redis.Options, c redispool.Config) *redis.Client {
	t.Helper()
	o.MaxRetries, o.PoolSize = -1, 8 // a failure shows
	if err := redispool.Configure(o, c); err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(o)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

func TestRedisChangesOver(t *testing.T) {
	s := changeover.StartRedis(t)
	changeover.Run(t, s, func(v *client.Value) func(context.Context) error {
		rdb := open(t, &redis.Options{Addr: s.Address(), ConnMaxLifetime: 50 * time.Millisecond, DB: 3}, redispool.Config{Value: v, User: "shop"})
		return func(ctx context.Context) error {
			who, err := rdb.Do(ctx, "ACL", "WHOAMI").Text()
			if err == nil && who != "shop" {
				err = fmt.Errorf("the connection is %s", who)
			}
			return errors.Join(err, rdb.Incr(ctx, "n").Err())
		}
	})
}

func TestAPasswordIsReplacedInPlace(t *testing.T) {
	target := changeover.StartRedis(t)
	s := keywrighttest.Start(t)
	first, err := target.Widen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.SetSecret("cache", first)
	v, err := client.NewValue(t.Context(), client.ValueConfig{Vault: s.Client().Vault(s.VaultName()), Name: "cache", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	v.Close() // nothing tells of the change but the refusal
	called := 0
	options := &redis.Options{Addr: target.Address(), ClientName: "shop-1", DB: 2, ConnMaxLifetime: time.Millisecond,
		OnConnect: func(context.Context, *redis.Conn) error { called++; return nil }}
	rdb := open(t, options, redispool.Config{Value: v, User: "shop"})
	if info, err := rdb.ClientInfo(t.Context()).Result(); err != nil || info.DB != 2 || info.Name != "shop-1" || info.User != "shop" || info.Resp != 3 {
		t.Errorf("the connection is %+v, %v", info, err)
	}
	second, err := target.Widen(t.Context(), 1)
	if err := errors.Join(err, target.Narrow(t.Context(), 0)); err != nil {
		t.Fatal(err)
	}
	s.SetSecret("cache", second)
	time.Sleep(5 * time.Millisecond) // the connection is old now
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Errorf("behind the change: %v", err)
	}
	if called < 2 {
		t.Errorf("the options' own OnConnect was called %d times", called)
	}
	if err := target.Narrow(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond)
	if err := rdb.Ping(t.Context()).Err(); !redispool.Refused(err) || strings.Contains(err.Error(), second) {
		t.Errorf("a password that nobody knows: %v", err)
	}
}

func TestTwoCredentialsAreRefused(t *testing.T) {
	if err := redispool.Configure(&redis.Options{Password: "x"}, redispool.Config{Value: new(client.Value)}); err == nil {
		t.Error("a password besides the value is taken")
	}
	if err := redispool.Configure(&redis.Options{}, redispool.Config{}); err == nil {
		t.Error("no value is taken")
	}
}
