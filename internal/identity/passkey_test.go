package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncbor"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
)

const origin = "https://login.test:8443"

// authenticator is a passkey in software (Web Authentication Level 3, sections 5.8.1, 6.1 and 6.5.4).
type authenticator struct {
	t       *testing.T
	key     *ecdsa.PrivateKey
	id      []byte
	handle  []byte
	counter uint32
	flags   byte
	// synced passkeys do not count.
	synced bool
	origin string
}

func newAuthenticator(t *testing.T) *authenticator {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 16)
	rand.Read(id)
	return &authenticator{t: t, key: key, id: id, flags: 0x05, origin: origin} // user present, user verified
}

func (a *authenticator) data(attested []byte) []byte {
	rp := sha256.Sum256([]byte("login.test"))
	if !a.synced {
		a.counter++
	}
	flags := a.flags
	if attested != nil {
		flags |= 0x40
	}
	return append(binary.BigEndian.AppendUint32(append(rp[:], flags), a.counter), attested...)
}

func (a *authenticator) client(kind string, challenge []byte) []byte {
	b, err := json.Marshal(map[string]any{"type": kind, "challenge": base64.RawURLEncoding.EncodeToString(challenge), "origin": a.origin})
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

func (a *authenticator) answer(response map[string]any) []byte {
	for k, v := range response {
		response[k] = base64.RawURLEncoding.EncodeToString(v.([]byte))
	}
	id := base64.RawURLEncoding.EncodeToString(a.id)
	b, err := json.Marshal(map[string]any{"id": id, "rawId": id, "type": "public-key", "response": response})
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// create answers navigator.credentials.create.
func (a *authenticator) create(c *identity.Ceremony) []byte {
	a.t.Helper()
	options := c.Options.(*protocol.CredentialCreation).Response
	a.handle = options.User.ID.(protocol.URLEncodedBase64)
	x, y := make([]byte, 32), make([]byte, 32)
	a.key.X.FillBytes(x)
	a.key.Y.FillBytes(y)
	cose, err := webauthncbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: x, -3: y})
	if err != nil {
		a.t.Fatal(err)
	}
	attested := append(binary.BigEndian.AppendUint16(make([]byte, 16), uint16(len(a.id))), a.id...)
	object, err := webauthncbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": a.data(append(attested, cose...))})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string]any{"clientDataJSON": a.client("webauthn.create", options.Challenge), "attestationObject": object})
}

// get answers navigator.credentials.get.
func (a *authenticator) get(c *identity.Ceremony) []byte {
	a.t.Helper()
	client, data := a.client("webauthn.get", c.Options.(*protocol.CredentialAssertion).Response.Challenge), a.data(nil)
	sum := sha256.Sum256(client)
	sum = sha256.Sum256(append(data, sum[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, sum[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string]any{"clientDataJSON": client, "authenticatorData": data[:37:37], "signature": signature, "userHandle": a.handle})
}

func TestPasskey(t *testing.T) {
	w := newWorld(t)
	user := w.make(identity.Spec{Kind: principal.User, UPN: "ada@example.org", Name: "Ada"})
	key := newAuthenticator(t)
	c, err := w.svc.BeginPasskeyRegistration(w.ctx, w.tenant, user.ID, origin)
	w.must(err)
	passkey, change, err := w.svc.PreparePasskey(w.ctx, w.tenant, user.ID, origin, "laptop", c.ID, key.create(c))
	w.must(err)
	w.apply(change)

	begin := func() *identity.Ceremony {
		t.Helper()
		c, err := w.svc.BeginPasskey(w.ctx, w.tenant, origin)
		w.must(err)
		return c
	}
	finish := func(c *identity.Ceremony, answer []byte) (*identity.Person, error) {
		return w.svc.SignInWithPasskey(w.ctx, w.tenant, origin, c.ID, answer, identity.From{Address: here})
	}
	c = begin()
	answer := key.get(c)
	who, err := finish(c, answer)
	w.must(err)
	token := w.signInPerson(who)
	caller, err := w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
	w.must(err)
	if caller.Principal != user.ID || caller.Credential != "passkey/"+passkey.ID {
		t.Errorf("caller %+v", caller)
	}
	for name, try := range map[string]func() (*identity.Person, error){
		"the same answer again": func() (*identity.Person, error) { return finish(c, answer) },
		"another challenge":     func() (*identity.Person, error) { return finish(begin(), answer) },
		"another origin": func() (*identity.Person, error) {
			evil := *key
			evil.origin = "https://login.evil.test"
			c := begin()
			return finish(c, evil.get(c))
		},
		"a person who was not verified": func() (*identity.Person, error) {
			bare := *key
			bare.flags = 0x01
			c := begin()
			return finish(c, bare.get(c))
		},
		"an unknown key": func() (*identity.Person, error) {
			stranger := newAuthenticator(t)
			stranger.handle = key.handle
			c := begin()
			return finish(c, stranger.get(c))
		},
		"a copy of the authenticator": func() (*identity.Person, error) {
			clone := *key
			clone.counter = 0
			c := begin()
			return finish(c, clone.get(c))
		},
		"no answer": func() (*identity.Person, error) { return finish(begin(), nil) },
	} {
		w.clock.Advance(2 * time.Hour) // lets the gate forget
		if who, err := try(); who != nil || !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v, %v", name, who, err)
		}
	}
	w.clock.Advance(2 * time.Hour)
	c = begin()
	_, err = finish(c, key.get(c))
	w.must(err)
	w.apply(w.svc.PrepareRemoveCredential(w.tenant, user.ID, caller.Credential))
	c = begin()
	_, err = finish(c, key.get(c))
	reason(t, err, identity.WrongPassword)
}

func TestPasskeyNeedsAName(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"https://127.0.0.1:8443", "http://login.test", "https://[::1]", ""} {
		_, err := w.svc.BeginPasskey(w.ctx, w.tenant, bad)
		reason(t, err, identity.WrongRequest)
	}
}

// TestChallengeIsGoodOnce replays an answer of a passkey that does not count, so that only the challenge stands against it.
func TestChallengeIsGoodOnce(t *testing.T) {
	w := newWorld(t)
	user := w.make(identity.Spec{Kind: principal.User, UPN: "ada@example.org", Name: "Ada"})
	key := newAuthenticator(t)
	key.synced = true
	c, err := w.svc.BeginPasskeyRegistration(w.ctx, w.tenant, user.ID, origin)
	w.must(err)
	_, change, err := w.svc.PreparePasskey(w.ctx, w.tenant, user.ID, origin, "phone", c.ID, key.create(c))
	w.must(err)
	w.apply(change)
	c, err = w.svc.BeginPasskey(w.ctx, w.tenant, origin)
	w.must(err)
	answer := key.get(c)
	_, err = w.svc.SignInWithPasskey(w.ctx, w.tenant, origin, c.ID, answer, identity.From{})
	w.must(err)
	_, err = w.svc.SignInWithPasskey(w.ctx, w.tenant, origin, c.ID, answer, identity.From{})
	reason(t, err, identity.WrongPassword)
}
