package mail

import (
	"net"
	"net/mail"
)

// Compose writes a letter to its first recipient.
func Compose(l Letter) ([]byte, error) {
	return l.parcel(l.To[0]).compose(&mail.Address{Address: "keywright@vault.example"}, "vault.example")
}

// Abroad makes the relay one on another machine.
func (r *Relay) Abroad() { r.local = func(net.Addr) bool { return false } }
