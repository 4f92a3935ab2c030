package cryptokey_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
)

var encodings = []cryptokey.TransferEncoding{cryptokey.CKMRSAAESKeyWrap, cryptokey.RSAAESKeyWrap256, cryptokey.RSAAESKeyWrap384}

func private(t *testing.T, k *cryptokey.Key) []byte {
	t.Helper()
	b, err := k.AppendPrivate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTransfersGoThereAndBack(t *testing.T) {
	target := key(t, specs[0])
	for _, spec := range specs {
		for _, enc := range encodings {
			k := key(t, spec)
			wrapped, err := k.Release(&target.Public, enc)
			if err != nil {
				t.Errorf("%s, %s: %v", spec, enc, err)
				continue
			}
			if again, err := k.Release(&target.Public, enc); err != nil || bytes.Equal(again, wrapped) {
				t.Errorf("%s, %s: two releases are the same", spec, enc)
			}
			got, err := target.Receive(spec.Type, enc, wrapped)
			if err != nil || !bytes.Equal(private(t, got), private(t, k)) {
				t.Errorf("%s, %s: %v", spec, enc, err)
			}
			for _, other := range encodings {
				if other == enc {
					continue
				}
				if _, err := target.Receive(spec.Type, other, wrapped); err != cryptokey.ErrDecrypt {
					t.Errorf("%s wrapped with %s opens with %s: %v", spec, enc, other, err)
				}
			}
		}
	}
}

func TestWhatATransferRefuses(t *testing.T) {
	target, ec, oct := key(t, specs[0]), key(t, specs[2]), key(t, octSpec(256))
	wrapped, err := ec.Release(&target.Public, cryptokey.RSAAESKeyWrap256)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ec.Release(&target.Public, "RSA_AES_KEY_WRAP_512")
	refused(t, "an unknown enc", err)
	_, err = ec.Release(&ec.Public, cryptokey.CKMRSAAESKeyWrap)
	refused(t, "a target that is EC", err)
	_, err = ec.Release(&oct.Public, cryptokey.CKMRSAAESKeyWrap)
	refused(t, "a target that is oct", err)
	_, err = target.Receive(cryptokey.RSA, cryptokey.RSAAESKeyWrap256, wrapped)
	refused(t, "another type than promised", err)
	_, err = target.Receive(cryptokey.Oct, cryptokey.RSAAESKeyWrap256, wrapped)
	refused(t, "PKCS #8 as oct", err)
	_, err = target.Receive(cryptokey.EC, "", wrapped)
	refused(t, "no enc", err)

	for name, wrong := range map[string][]byte{
		"nothing": nil, "the AES key alone": wrapped[:256], "cut": wrapped[:len(wrapped)-8], "cut off a block": wrapped[:len(wrapped)-1], "longer": append(bytes.Clone(wrapped), make([]byte, 8)...),
		"another AES key": slices.Concat(make([]byte, 256), wrapped[256:]), "another key": slices.Concat(wrapped[:256], make([]byte, len(wrapped)-256)),
	} {
		if _, err := target.Receive(cryptokey.EC, cryptokey.RSAAESKeyWrap256, wrong); err != cryptokey.ErrDecrypt {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := oct.Receive(cryptokey.EC, cryptokey.RSAAESKeyWrap256, wrapped); err != cryptokey.ErrDecrypt {
		t.Errorf("received by an oct key: %v", err)
	}
	// An AES key of another length than promised, although RSA-OAEP carries it and it opens what follows.
	brief := random(16)
	short, err := target.Encrypt(cryptokey.RSAOAEP256, cryptokey.Input{Value: brief})
	if err != nil {
		t.Fatal(err)
	}
	material, err := ec.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	shortInner, err := octKey(t, brief).WrapKey(cryptokey.CKMAESKeyWrapPad, cryptokey.Input{Value: material})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Receive(cryptokey.EC, cryptokey.RSAAESKeyWrap256, slices.Concat(short.Value, shortInner.Value)); err != cryptokey.ErrDecrypt {
		t.Errorf("an AES key of 16 bytes: %v", err)
	}
	// Well wrapped, but no key inside.
	once := random(32)
	outer, err := target.Encrypt(cryptokey.RSAOAEP256, cryptokey.Input{Value: once})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{random(33), {0x30, 0}, random(32)} {
		inner, err := octKey(t, once).WrapKey(cryptokey.CKMAESKeyWrapPad, cryptokey.Input{Value: content})
		if err != nil {
			t.Fatal(err)
		}
		_, err = target.Receive(cryptokey.EC, cryptokey.RSAAESKeyWrap256, slices.Concat(outer.Value, inner.Value))
		refused(t, fmt.Sprintf("%d bytes that are not a key", len(content)), err)
	}
}

func TestTransferBlob(t *testing.T) {
	blob := cryptokey.NewTransferBlob("https://v.example/keys/kek/1", cryptokey.CKMRSAAESKeyWrap, []byte{1, 2, 3})
	text, err := json.Marshal(blob)
	if want := `{"schema_version":"1.0.0","header":{"kid":"https://v.example/keys/kek/1","alg":"dir","enc":"CKM_RSA_AES_KEY_WRAP"},"ciphertext":"AQID"}`; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	got, err := cryptokey.ParseTransferBlob(text)
	if err != nil || got.Header != blob.Header || !bytes.Equal(got.Ciphertext, blob.Ciphertext) {
		t.Errorf("%+v, %v", got, err)
	}
	// Some tools pad it.
	if got, err := cryptokey.ParseTransferBlob([]byte(`{"schema_version":"1.0.0","header":{"alg":"dir","enc":"CKM_RSA_AES_KEY_WRAP"},"ciphertext":"AQIDBA==","generator":"x"}`)); err != nil || !bytes.Equal(got.Ciphertext, []byte{1, 2, 3, 4}) {
		t.Errorf("padded: %+v, %v", got, err)
	}
	for _, wrong := range []string{``, `{}`, `[]`, `{"schema_version":"2.0.0","header":{"alg":"dir","enc":"CKM_RSA_AES_KEY_WRAP"},"ciphertext":"AQID"}`,
		`{"schema_version":"1.0.0","header":{"alg":"RSA-OAEP","enc":"CKM_RSA_AES_KEY_WRAP"},"ciphertext":"AQID"}`,
		`{"schema_version":"1.0.0","header":{"alg":"dir","enc":"A256KW"},"ciphertext":"AQID"}`,
		`{"schema_version":"1.0.0","header":{"alg":"dir","enc":"CKM_RSA_AES_KEY_WRAP"},"ciphertext":""}`,
		`{"schema_version":"1.0.0","header":{"alg":"dir","enc":"CKM_RSA_AES_KEY_WRAP"},"ciphertext":"AQID="}`} {
		_, err := cryptokey.ParseTransferBlob([]byte(wrong))
		refused(t, wrong, err)
	}
}

func TestPKCS8GoesThereAndBack(t *testing.T) {
	for _, spec := range specs {
		k := key(t, spec)
		der, err := k.PKCS8()
		if spec.Type == cryptokey.Oct {
			refused(t, "oct as PKCS #8", err)
			_, err = k.SPKI()
			refused(t, "oct as SPKI", err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		again, err := cryptokey.ParsePKCS8(der)
		if err != nil || !bytes.Equal(private(t, again), private(t, k)) {
			t.Errorf("%s: %v", spec, err)
		}
		for _, wrong := range [][]byte{der[:len(der)-1], append(bytes.Clone(der), 0), nil} {
			_, err := cryptokey.ParsePKCS8(wrong)
			refused(t, spec.String(), err)
		}
		spki, err := k.SPKI()
		if err != nil {
			t.Errorf("%s: %v", spec, err)
		}
		for _, wrong := range [][]byte{spki[:len(spki)-1], append(bytes.Clone(spki), 0), der, nil} {
			_, err := cryptokey.ParseSPKI(wrong)
			refused(t, spec.String(), err)
		}
	}
}
