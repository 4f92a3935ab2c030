// Package redispool signs go-redis in with a secret that changes.
//
// Configure completes redis.Options so that each new connection signs in with the current credential, tries again once with a newer one when Redis refuses
// it, and tells the server which version is in use:
//
//	options := &redis.Options{Addr: "redis:6379"}
//	if err := redispool.Configure(options, redispool.Config{Value: value, User: "shop"}); err != nil { … }
//	rdb := redis.NewClient(options)
//
// The sign-in is the connection's first command (HELLO with AUTH, Redis 6 and later) instead of go-redis's own: its credentials providers hear neither that a
// sign-in was refused nor which one worked, so nothing could be tried again or acknowledged exactly.
package redispool

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/keywright/keywright/client"
)

// Config says how connections sign in. Value is required.
type Config struct {
	Value *client.Value
	// User is who signs in where the secret is only a password; empty is Redis's default user.
	User string
	// MaxAge is how long a connection may live; it takes the place of Options.ConnMaxLifetime where that is not set. Redis keeps sessions when a
	// password goes, but not when their user does. Zero is client.DefaultMaxAge.
	MaxAge time.Duration
}

// DefaultUser is the user of Redis that a connection without a name is.
const DefaultUser = "default"

// newestProtocol is RESP3.
const newestProtocol = 3

// Configure completes the options, which must not name a credential. Their OnConnect is called behind the sign-in.
func Configure(o *redis.Options, c Config) error {
	if c.Value == nil {
		return errors.New("the options need a value")
	}
	if o.Username != "" || o.Password != "" || o.CredentialsProvider != nil || o.CredentialsProviderContext != nil || o.StreamingCredentialsProvider != nil {
		return errors.New("the options name a credential besides the value: leave it out, and give a user in the configuration of the value")
	}
	if c.User == "" {
		c.User = DefaultUser
	}
	s := &signIn{Config: c, protocol: o.Protocol, name: o.ClientName, db: o.DB, then: o.OnConnect}
	if s.protocol == 0 {
		s.protocol = newestProtocol
	}
	// What go-redis would send before the sign-in is sent behind it: Redis takes no other command before.
	o.DB, o.ClientName, o.DisableIdentity = 0, "", true
	if o.MaintNotificationsConfig == nil {
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	}
	o.OnConnect = s.connected
	if o.ConnMaxLifetime == 0 {
		o.ConnMaxLifetime = c.MaxAge
		if c.MaxAge == 0 {
			o.ConnMaxLifetime = client.DefaultMaxAge
		}
	}
	return nil
}

type signIn struct {
	Config
	protocol, db int
	name         string
	then         func(context.Context, *redis.Conn) error
}

func (s *signIn) connected(ctx context.Context, c *redis.Conn) error {
	err := s.Value.SignIn(ctx, func(ctx context.Context, secret *client.Secret) error {
		credential, err := client.ParseCredential(secret)
		if err != nil {
			return err
		}
		credential = credential.Or(s.User)
		return c.Hello(ctx, s.protocol, credential.User, credential.Password, s.name).Err()
	}, Refused)
	if err == nil && s.db > 0 {
		err = c.Select(ctx, s.db).Err()
	}
	if err == nil && s.then != nil {
		err = s.then(ctx, c)
	}
	return err
}

// Refused reports whether Redis refused the credential.
func Refused(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.HasPrefix(err.Error(), "WRONGPASS") {
			return true
		}
	}
	return false
}
