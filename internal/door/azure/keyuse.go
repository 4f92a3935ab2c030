package azure

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/object"
)

// unpadded is base64url, written without padding and read with or without it.
type unpadded []byte

// UnmarshalText decodes the bytes.
func (u *unpadded) UnmarshalText(text []byte) error {
	n := len(text)
	for n > 0 && text[n-1] == '=' {
		n--
	}
	b := make([]byte, base64.RawURLEncoding.DecodedLen(n))
	m, err := base64.RawURLEncoding.Decode(b, text[:n])
	if err != nil {
		clear(b)
		return fault.New(fault.Invalid, "a member of the request body is not base64url: encode its bytes so")
	}
	*u = b[:m]
	return nil
}

// MarshalText encodes the bytes.
func (u unpadded) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, u), nil
}

type concealInput struct {
	Alg   cryptokey.Algorithm `json:"alg"`
	Value unpadded            `json:"value"`
	IV    unpadded            `json:"iv,omitempty"`
	AAD   unpadded            `json:"aad,omitempty"`
	Tag   unpadded            `json:"tag,omitempty"`
}

func (in *concealInput) decode(r *door.Request) error {
	if err := r.Decode(in); err != nil {
		return err
	}
	return required(in.Alg, in.Value, "value")
}

func (in *concealInput) input() cryptokey.Input {
	return cryptokey.Input{Value: in.Value, IV: in.IV, AAD: in.AAD, Tag: in.Tag}
}

// required reports which of the members that every use needs is missing. A value may be empty, but not left out.
func required(alg cryptokey.Algorithm, value unpadded, name string) error {
	switch {
	case alg == "":
		return fault.New(fault.Invalid, "the request body has no member \"alg\": name the algorithm")
	case value == nil:
		return fault.New(fault.Invalid, "the request body has no member %q: give it in base64url", name)
	}
	return nil
}

type (
	concealer func(context.Context, *guard.Call, object.Selector, cryptokey.Algorithm, cryptokey.Input) (object.Item, cryptokey.Output, error)
	revealer  func(context.Context, *guard.Call, object.Selector, cryptokey.Algorithm, cryptokey.Input) (object.Item, []byte, error)
)

// conceal serves encrypt and wrapkey.
func (h *handler) conceal(with concealer) func(*door.Request) error {
	return func(r *door.Request) error {
		sel, err := selector(r)
		if err != nil {
			return err
		}
		var in concealInput
		err = in.decode(r)
		defer clear(in.Value)
		if err != nil {
			return err
		}
		item, out, err := with(r.HTTP.Context(), &r.Call, sel, in.Alg, in.input())
		if err != nil {
			return err
		}
		h.result(r, &item, &out)
		return nil
	}
}

// reveal serves decrypt and unwrapkey.
func (h *handler) reveal(with revealer) func(*door.Request) error {
	return func(r *door.Request) error {
		sel, err := selector(r)
		if err != nil {
			return err
		}
		var in concealInput
		if err := in.decode(r); err != nil {
			return err
		}
		item, plain, err := with(r.HTTP.Context(), &r.Call, sel, in.Alg, in.input())
		defer clear(plain)
		if err != nil {
			return err
		}
		h.result(r, &item, &cryptokey.Output{Value: plain})
		return nil
	}
}

type signInput struct {
	Alg   cryptokey.Algorithm `json:"alg"`
	Value unpadded            `json:"value"`
}

func (h *handler) sign(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var in signInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	if err := required(in.Alg, in.Value, "value"); err != nil {
		return err
	}
	item, signature, err := h.Keys.Sign(r.HTTP.Context(), &r.Call, sel, in.Alg, in.Value)
	if err != nil {
		return err
	}
	h.result(r, &item, &cryptokey.Output{Value: signature})
	return nil
}

type verifyInput struct {
	Alg    cryptokey.Algorithm `json:"alg"`
	Digest unpadded            `json:"digest"`
	Value  unpadded            `json:"value"`
}

func (h *handler) verify(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var in verifyInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	if err := required(in.Alg, in.Digest, "digest"); err != nil {
		return err
	}
	if err := required(in.Alg, in.Value, "value"); err != nil {
		return err
	}
	_, valid, err := h.Keys.Verify(r.HTTP.Context(), &r.Call, sel, in.Alg, in.Digest, in.Value)
	if err != nil {
		return err
	}
	answer := `{"value":false}`
	if valid {
		answer = `{"value":true}`
	}
	r.Reply(http.StatusOK, []byte(answer))
	return nil
}

// result answers with the result of a use. It is written by hand, like bundles: a signature on P-256 takes little longer than encoding/json.
func (h *handler) result(r *door.Request, item *object.Item, out *cryptokey.Output) {
	e := h.encoder(r)
	e.byte('{')
	e.id("kid", keys, item)
	e.octets("value", out.Value)
	for _, m := range []struct {
		name  string
		value []byte
	}{{"iv", out.IV}, {"tag", out.Tag}, {"aad", out.AAD}} {
		if len(m.value) > 0 {
			e.octets(m.name, m.value)
		}
	}
	e.byte('}')
	r.Scratch = e.buf
	r.Reply(http.StatusOK, e.buf)
}

// octets appends a member of bytes in base64url.
func (e *encoder) octets(name string, b []byte) {
	e.raw(`,"`)
	e.raw(name)
	e.raw(`":"`)
	e.buf = base64.RawURLEncoding.AppendEncode(e.buf, b)
	e.byte('"')
}

type releaseInput struct {
	Target string                     `json:"target"`
	Nonce  string                     `json:"nonce,omitempty"`
	Enc    cryptokey.TransferEncoding `json:"enc,omitempty"`
}

func (h *handler) releaseKey(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var in releaseInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.Target == "" {
		return fault.New(fault.Invalid, "the request body has no member \"target\": give the attestation of who is to get the key")
	}
	base := r.Base
	_, jws, err := h.Keys.Release(r.HTTP.Context(), &r.Call, sel, key.ReleaseRequest{Target: in.Target, Nonce: in.Nonce, Encoding: in.Enc,
		Kid: func(it object.Item) string {
			return strings.Join([]string{base, keys, it.Object.Name, string(it.Version.ID)}, "/")
		}})
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, blob{&jws})
}

type randomInput struct {
	Count int `json:"count"`
}

func (h *handler) random(r *door.Request) error {
	var in randomInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	b, err := h.Keys.Random(r.HTTP.Context(), &r.Call, in.Count)
	defer clear(b)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, struct {
		Value unpadded `json:"value"`
	}{b})
}
