package server

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/door/acme"
	"github.com/keywright/keywright/internal/fault"
	issueracme "github.com/keywright/keywright/internal/issuer/acme"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
)

// challengeAnswers keeps what authorities look for in the store, so that every node can answer: it implements acme.Answers.
type challengeAnswers struct {
	store store.Store
	clock clock.Clock
}

var _ issueracme.Answers = challengeAnswers{}

// answersKept is how long an answer is kept that nobody takes away: authorities give up on an authorization within a week.
const answersKept = 7 * 24 * time.Hour

const answerKind = "acme-answer-"

func (a challengeAnswers) PutAnswer(ctx context.Context, kind, name string, answer []byte) error {
	op := store.NewOp(a.clock.Now())
	return a.store.Update(ctx, op, func(tx store.Tx) error {
		return tx.PutSignIn(ctx, &store.SignIn{Kind: answerKind + kind, ID: name, Expires: op.At.Add(answersKept), Data: answer})
	})
}

func (a challengeAnswers) Answer(ctx context.Context, kind, name string) (answer []byte, err error) {
	err = a.store.View(ctx, func(tx store.Tx) error {
		s, err := tx.SignIn(ctx, answerKind+kind, name, a.clock.Now())
		if err == nil {
			answer = s.Data
		}
		return err
	})
	return answer, err
}

func (a challengeAnswers) DropAnswer(ctx context.Context, kind, name string) error {
	return a.store.Update(ctx, store.NewOp(a.clock.Now()), func(tx store.Tx) error {
		if err := tx.DeleteSignIn(ctx, answerKind+kind, name); !fault.Is(err, fault.NotFound) {
			return err
		}
		return nil
	})
}

// sharedNonces are nonces of ACME clients that count at every node, once: a client's next request may come to another node than the one that gave it the nonce. A nonce
// proves by itself who made it and when; the store remembers those that were used.
//
//	the time in seconds, 8 bytes | random, 16 bytes | HMAC-SHA256 of both, the first 16 bytes
type sharedNonces struct {
	store store.Store
	keys  *keyring.Keyring
	clock clock.Clock

	mu  sync.Mutex
	key []byte
}

var _ acme.Nonces = (*sharedNonces)(nil)

const (
	nonceSetting = "acme-nonce-key"
	nonceKind    = "acme-nonce"
	// nonceLife is how long a nonce counts: a client asks for another one when its own is too old.
	nonceLife   = time.Hour
	nonceHead   = 8 + 16
	nonceMAC    = 16
	nonceKeyLen = 32
)

// Issue implements acme.Nonces.
func (n *sharedNonces) Issue(ctx context.Context) (string, error) {
	key, err := n.secret(ctx)
	if err != nil {
		return "", err
	}
	b := make([]byte, nonceHead, nonceHead+nonceMAC)
	binary.BigEndian.PutUint64(b, uint64(n.clock.Now().Unix()))
	rand.Read(b[8:])
	return base64.RawURLEncoding.EncodeToString(append(b, macOf(key, b)...)), nil
}

// Use implements acme.Nonces.
func (n *sharedNonces) Use(ctx context.Context, nonce string) (bool, error) {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != nonceHead+nonceMAC || base64.RawURLEncoding.EncodeToString(b) != nonce {
		return false, nil
	}
	key, err := n.secret(ctx)
	if err != nil {
		return false, err
	}
	now, made := n.clock.Now(), time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	if !hmac.Equal(b[nonceHead:], macOf(key, b[:nonceHead])) || now.Sub(made) > nonceLife || made.Sub(now) > nonceLife {
		return false, nil
	}
	fresh := false
	err = n.store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		_, err := tx.SignIn(ctx, nonceKind, nonce, now)
		if fresh = fault.Is(err, fault.NotFound); !fresh {
			return err
		}
		return tx.PutSignIn(ctx, &store.SignIn{Kind: nonceKind, ID: nonce, Expires: made.Add(2 * nonceLife)})
	})
	return fresh && err == nil, err
}

func macOf(key, head []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(head)
	return h.Sum(nil)[:nonceMAC]
}

// secret is the key of the nonces, which the first node makes.
func (n *sharedNonces) secret(ctx context.Context) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.key != nil {
		return n.key, nil
	}
	fresh := make([]byte, nonceKeyLen)
	rand.Read(fresh)
	sealed, err := n.keys.SealAudit(nil, "", fresh, []byte(nonceSetting))
	if err != nil {
		return nil, err
	}
	op := store.NewOp(n.clock.Now())
	err = n.store.Update(ctx, op, func(tx store.Tx) error {
		there, err := tx.Setting(ctx, nonceSetting)
		if fault.Is(err, fault.NotFound) {
			return tx.PutSetting(ctx, nonceSetting, sealed)
		}
		sealed = there
		return err
	})
	if err != nil {
		return nil, err
	}
	n.key, err = n.keys.OpenAudit(nil, "", sealed, []byte(nonceSetting))
	return n.key, err
}
