// Package identitytest is a passkey in software, for tests of what people sign in with.
package identitytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
)

// Flags of an authenticator's data (Web Authentication Level 3, section 6.1).
const (
	UserPresent  byte = 0x01
	UserVerified byte = 0x04
	attested     byte = 0x40
)

// Authenticator is a browser with one passkey (Web Authentication Level 3, sections 5.8.1, 6.1 and 6.5.4). A copy of it is a clone.
type Authenticator struct {
	t   testing.TB
	key *ecdsa.PrivateKey
	id  []byte
	// Handle is the user that the passkey was made for.
	Handle  []byte
	Counter uint32
	Flags   byte
	// Synced passkeys do not count.
	Synced bool
	// Origin is that of the page which the browser shows.
	Origin string
}

// NewAuthenticator returns one that verifies its user, in a browser that shows a page of the origin.
func NewAuthenticator(t testing.TB, origin string) *Authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 16)
	rand.Read(id)
	return &Authenticator{t: t, key: key, id: id, Flags: UserPresent | UserVerified, Origin: origin}
}

// wish is what navigator.credentials is asked for.
type wish struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		// RPID is set to sign in, RP and User to register.
		RPID string `json:"rpId"`
		RP   struct {
			ID string `json:"id"`
		} `json:"rp"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
	} `json:"publicKey"`
}

func (a *Authenticator) read(options any) (w wish) {
	a.t.Helper()
	text, err := json.Marshal(options)
	if err == nil {
		err = json.Unmarshal(text, &w)
	}
	if err != nil || w.PublicKey.Challenge == "" {
		a.t.Fatalf("the options %s hold no challenge: %v", text, err)
	}
	return w
}

func (a *Authenticator) data(rp string, credential []byte) []byte {
	sum := sha256.Sum256([]byte(rp))
	if !a.Synced {
		a.Counter++
	}
	flags := a.Flags
	if credential != nil {
		flags |= attested
	}
	return append(binary.BigEndian.AppendUint32(append(sum[:], flags), a.Counter), credential...)
}

func (a *Authenticator) client(kind, challenge string) []byte {
	a.t.Helper()
	b, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.Origin})
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

func (a *Authenticator) answer(response map[string][]byte) []byte {
	a.t.Helper()
	text := make(map[string]string, len(response))
	for k, v := range response {
		text[k] = base64.RawURLEncoding.EncodeToString(v)
	}
	id := base64.RawURLEncoding.EncodeToString(a.id)
	b, err := json.Marshal(map[string]any{"id": id, "rawId": id, "type": "public-key", "response": text})
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// Create answers navigator.credentials.create: options are what the server gave, or their JSON.
func (a *Authenticator) Create(options any) []byte {
	a.t.Helper()
	o := a.read(options).PublicKey
	handle, err := base64.RawURLEncoding.DecodeString(o.User.ID)
	if err != nil {
		a.t.Fatal(err)
	}
	a.Handle = handle
	point, err := a.key.PublicKey.Bytes() // 0x04, x, y
	if err != nil {
		a.t.Fatal(err)
	}
	// A COSE key (RFC 9053, section 7.1.1): EC2, ES256, P-256.
	cose, err := webauthncbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})
	if err != nil {
		a.t.Fatal(err)
	}
	credential := append(binary.BigEndian.AppendUint16(make([]byte, 16), uint16(len(a.id))), a.id...)
	object, err := webauthncbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": a.data(o.RP.ID, append(credential, cose...))})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string][]byte{"clientDataJSON": a.client("webauthn.create", o.Challenge), "attestationObject": object})
}

// Get answers navigator.credentials.get: options are what the server gave, or their JSON.
func (a *Authenticator) Get(options any) []byte {
	a.t.Helper()
	o := a.read(options).PublicKey
	client, data := a.client("webauthn.get", o.Challenge), a.data(o.RPID, nil)
	sum := sha256.Sum256(client)
	sum = sha256.Sum256(append(data[:len(data):len(data)], sum[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, sum[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string][]byte{"clientDataJSON": client, "authenticatorData": data, "signature": signature, "userHandle": a.Handle})
}
