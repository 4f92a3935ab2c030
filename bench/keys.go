package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// keyUse is one thing that is done with a key: through the API of the product, and directly by the bare server.
type keyUse struct {
	name string
	// key and verb are the path of the product's request.
	key, verb, alg string
	// min is what the product must reach of the bare server's requests per second; 0 for a figure without a bound.
	min float64
}

// keyUses are measured. The bounds are those of the two signatures that certificates and tokens are made with, and of what opens data.
var keyUses = []keyUse{
	{"sign RSA-2048", "rsa", "sign", "RS256", 0.9},
	{"sign P-256", "ec", "sign", "ES256", 0.6},
	{"decrypt RSA-2048", "rsa", "decrypt", "RSA-OAEP-256", 0.9},
	{"verify P-256", "ec", "verify", "ES256", 0},
	{"wrap RSA-2048", "rsa", "wrapkey", "RSA-OAEP-256", 0},
}

// keyMessage is the body of a use on both sides, and the answer.
type keyMessage struct {
	Alg    string `json:"alg,omitempty"`
	Kid    string `json:"kid,omitempty"`
	Value  string `json:"value"`
	Digest string `json:"digest,omitempty"`
}

var digest = sha256.Sum256([]byte("what is signed"))

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// serveBareKeys is the ceiling of uses of keys: net/http over TLS 1.3 with a handler that decodes the request, calls crypto/* with a key that is at hand,
// and encodes the answer. It authenticates nobody, decides nothing and records nothing.
func serveBareKeys(dir string) error {
	cert, err := selfSigned(dir)
	if err != nil {
		return err
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return err
	}
	fmt.Println("bare-keys", l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in keyMessage
		answer := keyMessage{Kid: "https://127.0.0.1/keys/key/0123456789abcdef0123456789abcdef"}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &in)
		}
		var out []byte
		if err == nil {
			out, err = compute(rsaKey, ecKey, r.URL.Path, &in)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer.Value = b64(out)
		text, _ := json.Marshal(&answer) // texts alone: it cannot fail
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		w.Write(text)
	}))
}

func compute(rsaKey *rsa.PrivateKey, ecKey *ecdsa.PrivateKey, path string, in *keyMessage) ([]byte, error) {
	value, err := base64.RawURLEncoding.DecodeString(in.Value)
	if err != nil {
		return nil, err
	}
	switch path {
	case "/rsa/sign":
		return rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, value)
	case "/ec/sign":
		return ecdsa.SignASN1(rand.Reader, ecKey, value)
	case "/rsa/decrypt":
		return rsa.DecryptOAEP(sha256.New(), nil, rsaKey, value, nil)
	case "/rsa/wrapkey":
		return rsa.EncryptOAEP(sha256.New(), rand.Reader, &rsaKey.PublicKey, value, nil)
	case "/ec/verify":
		hashed, err := base64.RawURLEncoding.DecodeString(in.Digest)
		if err != nil || !ecdsa.VerifyASN1(&ecKey.PublicKey, hashed, value) {
			return nil, errors.New("not valid")
		}
		return []byte{1}, nil
	}
	return nil, errors.New("no such key")
}

// keyCaller asks one of the two servers for a use of a key, to prepare what is measured.
type keyCaller func(key, verb, body string) (keyMessage, error)

// keyBody is the request of a use. What is opened or verified is made by the server itself first.
func keyBody(call keyCaller, u *keyUse) (string, error) {
	m := keyMessage{Alg: u.alg, Value: b64(digest[:])}
	var err error
	var made keyMessage
	switch u.verb {
	case "decrypt":
		made, err = call(u.key, "wrapkey", encoded(m))
		m.Value = made.Value
	case "verify":
		made, err = call(u.key, "sign", encoded(m))
		m.Digest, m.Value = m.Value, made.Value
	}
	return encoded(m), err
}

func encoded(m keyMessage) string {
	text, _ := json.Marshal(&m) // texts alone: it cannot fail
	return string(text)
}

// planKeys adds the cases of keys: each use through the product, and the same use at the bare server.
func (b *bench) planKeys(p *product, bare *target) error {
	for name, body := range map[string]string{"rsa": `{"kty":"RSA","key_size":2048}`, "ec": `{"kty":"EC","crv":"P-256"}`} {
		if _, _, err := p.call("POST", p.env["AZURE_KEYVAULT_URL"]+"/keys/"+name+"/create"+apiVersion, p.tokens[0], body); err != nil {
			return err
		}
	}
	product := func(key, verb, body string) (m keyMessage, err error) {
		_, raw, err := p.call("POST", p.env["AZURE_KEYVAULT_URL"]+"/keys/"+key+"/"+verb+apiVersion, p.tokens[0], body)
		if err == nil {
			err = json.Unmarshal(raw, &m)
		}
		return m, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: bare.roots}}}
	direct := func(key, verb, body string) (m keyMessage, err error) {
		res, err := client.Post("https://"+bare.address+"/"+key+"/"+verb, "application/json", strings.NewReader(body))
		if err != nil {
			return m, err
		}
		defer res.Body.Close()
		return m, json.NewDecoder(res.Body).Decode(&m)
	}
	for i := range keyUses {
		u := &keyUses[i]
		there, err := keyBody(product, u)
		if err != nil {
			return err
		}
		here, err := keyBody(direct, u)
		if err != nil {
			return err
		}
		through := make([][]byte, len(p.tokens))
		for c := range through {
			through[c] = p.requestTo("POST", c, "/keys/"+u.key+"/"+u.verb, there)
		}
		raw := p.requestTo("POST", 0, "/"+u.key+"/"+u.verb, here)
		b.beside(readSlices, []measured{
			{"bare " + u.name, b.https(bare, b.connections, func(int, int) []byte { return raw })},
			{u.name, b.https(p.target(), b.connections, func(c, _ int) []byte { return through[c%len(through)] })},
		})
	}
	return nil
}

// keyBounds are the shares of the bare server that uses of keys reach.
func (b *bench) keyBounds() (list []bound) {
	for _, u := range keyUses {
		list = append(list, bound{Name: u.name + ": requests per second of bare", Min: u.min, Ratio: b.rate(u.name, "bare "+u.name)})
	}
	return list
}
