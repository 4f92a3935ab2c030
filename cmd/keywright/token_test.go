package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keywright/keywright/internal/token/pkcs11"
)

func TestTheTokenComesFromFlagsAndTheEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, []byte("271828\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		flags   pkcs11.Config
		pinFile string
		env     map[string]string
		want    pkcs11.Config
	}{
		"nothing":         {},
		"flags":           {flags: pkcs11.Config{Module: "m", Token: "t"}, pinFile: file, want: pkcs11.Config{Module: "m", Token: "t", PIN: "271828"}},
		"the environment": {env: map[string]string{"KEYWRIGHT_PKCS11_MODULE": "m", "KEYWRIGHT_PKCS11_TOKEN": "t", "KEYWRIGHT_PKCS11_PIN_FILE": file}, want: pkcs11.Config{Module: "m", Token: "t", PIN: "271828"}},
		"a PIN in it":     {flags: pkcs11.Config{Module: "m", Token: "t"}, env: map[string]string{pinVariable: "314159", "KEYWRIGHT_PKCS11_TOKEN": "other"}, want: pkcs11.Config{Module: "m", Token: "t", PIN: "314159"}},
	} {
		unset := ""
		got := c.flags
		err := tokenConfig(&got, c.pinFile, func(n string) string { return c.env[n] }, func(n string) error { unset = n; return nil })
		if err != nil || got != c.want || unset != pinVariable {
			t.Errorf("%s: %v, %v; %q was taken out of the environment", name, got, err, unset)
		}
	}
	if err := tokenConfig(new(pkcs11.Config), file+".none", func(string) string { return "" }, func(string) error { return nil }); err == nil {
		t.Error("a PIN file that is missing")
	}
}
