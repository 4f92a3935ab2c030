//go:build !pkcs11

package pkcs11_test

import (
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/token/pkcs11"
)

func TestABuildWithoutTokensSaysSo(t *testing.T) {
	if token, err := pkcs11.Open(pkcs11.Config{Module: "/usr/lib/softhsm/libsofthsm2.so", Token: "t"}); token != nil || !fault.Is(err, fault.Unsupported) {
		t.Errorf("%v, %v", token, err)
	}
}
