package main

import (
	"cmp"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/token/pkcs11"
)

// pinVariable holds the PIN where there is no file for it.
const pinVariable = "KEYWRIGHT_PKCS11_PIN"

// tokenConfig completes the configuration of the token from the environment. The PIN is never an argument, which everybody on the machine can see; and it
// is taken out of the environment, so that no program that the server starts gets it.
func tokenConfig(c *pkcs11.Config, pinFile string, getenv func(string) string, unset func(string) error) (err error) {
	c.Module = cmp.Or(c.Module, getenv("KEYWRIGHT_PKCS11_MODULE"))
	c.Token = cmp.Or(c.Token, getenv("KEYWRIGHT_PKCS11_TOKEN"))
	c.PIN = redact.String(getenv(pinVariable))
	if err := unset(pinVariable); err != nil {
		return err
	}
	if file := cmp.Or(pinFile, getenv("KEYWRIGHT_PKCS11_PIN_FILE")); file != "" {
		c.PIN, err = pkcs11.ReadPIN(file)
	}
	return err
}
