package server

import (
	"context"
	"fmt"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/token/pkcs11"
)

// openToken binds the server to a PKCS#11 token, if the configuration names one.
func (k *core) openToken(c *Config) error {
	if c.Token.Module == "" && c.Token.Token == "" {
		return nil
	}
	t, err := pkcs11.Open(c.Token)
	if err != nil {
		return fmt.Errorf("opening the PKCS#11 token %q: %w", c.Token.Token, err)
	}
	k.token = t
	k.onClose(t.Close)
	return nil
}

// keysToken is the token as the key service sees it; nil when there is none.
func (k *core) keysToken() key.Token {
	if k.token == nil {
		return nil
	}
	return k.token
}

// tokenStatus is what the status says of where keys of -HSM types are.
func (k *core) tokenStatus() *api.TokenStatus {
	if k.token == nil {
		return nil
	}
	i := k.token.Info()
	return &api.TokenStatus{Label: i.Label, Manufacturer: i.Manufacturer, Model: i.Model, Firmware: i.Firmware, Hardware: i.Hardware}
}

// sweepToken destroys keys in the token that are no vault's any more.
func (k *core) sweepToken(ctx context.Context) error {
	destroyed, err := k.cryptoKeys.SweepToken(ctx)
	if destroyed > 0 {
		k.log.InfoContext(ctx, "keys were destroyed in the token", "keys", destroyed)
	}
	return err
}
