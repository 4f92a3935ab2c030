package keywrighttest_test

import (
	"context"
	"testing"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/keywrighttest"
)

// connect is code under test: it gets its password from a vault.
func connect(ctx context.Context, v *client.Vault) (password string, err error) {
	s, err := v.Get(ctx, "db-password")
	if err != nil {
		return "", err
	}
	return string(s.Bytes()), nil
}

func ExampleStart() {
	// In a test file this is func TestConnect(t *testing.T).
	_ = func(t *testing.T) {
		s := keywrighttest.Start(t)
		s.SetSecret("db-password", "correct horse")
		password, err := connect(t.Context(), s.Client().Vault(s.VaultName()))
		if err != nil {
			t.Fatal(err)
		}
		if password != "correct horse" {
			t.Error("connected with another password")
		}
	}
}
