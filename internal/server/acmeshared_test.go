package server

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
)

// A nonce counts at every node, once in all of them, for its time, and only as it was made.
func TestSharedNonces(t *testing.T) {
	k := startDev(t, t.TempDir()).core
	now := clock.NewManual(time.Now())
	a, b := &sharedNonces{store: k.store, keys: k.keys, clock: now}, &sharedNonces{store: k.store, keys: k.keys, clock: now}
	issue := func() string {
		nonce, err := a.Issue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return nonce
	}
	use := func(n *sharedNonces, nonce string) bool {
		ok, err := n.Use(t.Context(), nonce)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	first := issue()
	if !use(b, first) || use(a, first) || use(b, first) {
		t.Error("a nonce does not count once, at any node")
	}
	changed, _ := base64.RawURLEncoding.DecodeString(issue())
	changed[0] ^= 1
	for what, nonce := range map[string]string{"changed": base64.RawURLEncoding.EncodeToString(changed), "cut": issue()[:20], "with something behind it": issue() + "AA", "of nobody": "nonce", "empty": ""} {
		if use(b, nonce) {
			t.Errorf("a nonce that is %s counts", what)
		}
	}
	old := issue()
	now.Advance(nonceLife + 2*time.Second)
	if use(b, old) {
		t.Error("a nonce counts behind its time")
	}
}

func TestChallengeAnswersAreShared(t *testing.T) {
	k := startDev(t, t.TempDir()).core
	put, get := challengeAnswers{k.store, k.clock}, challengeAnswers{k.store, k.clock}
	if err := put.PutAnswer(t.Context(), "http-01", "token", []byte("answer")); err != nil {
		t.Fatal(err)
	}
	if answer, err := get.Answer(t.Context(), "http-01", "token"); err != nil || string(answer) != "answer" {
		t.Errorf("the answer is %q, %v", answer, err)
	}
	if _, err := get.Answer(t.Context(), "tls-alpn-01", "token"); !fault.Is(err, fault.NotFound) {
		t.Errorf("another type of challenge: %v", err)
	}
	for range 2 {
		if err := put.DropAnswer(t.Context(), "http-01", "token"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := get.Answer(t.Context(), "http-01", "token"); !fault.Is(err, fault.NotFound) {
		t.Errorf("after it was dropped: %v", err)
	}
}
