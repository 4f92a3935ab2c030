package redis

import (
	"crypto/tls"
	"errors"
	"strings"

	client "github.com/redis/go-redis/v9"

	"github.com/keywright/keywright/internal/rotator"
)

// word is the first word of a server's error, by which errors are told apart (https://redis.io/docs/latest/develop/reference/protocol-spec/), or
// nothing for an error that is not the server's.
func word(err error) string {
	var reply client.Error
	if err == nil || err == client.Nil || !errors.As(err, &reply) {
		return ""
	}
	first, _, _ := strings.Cut(reply.Error(), " ")
	return first
}

func isReply(err error) bool { return word(err) != "" }

// full is the reply to a connection too many. It has no word of its own.
func full(err error) bool {
	var reply client.Error
	return errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "ERR max number of clients")
}

// refusal stands for an error of the server in chains of causes. The text itself may quote arguments.
type refusal string

func (r refusal) Error() string { return "the server says " + string(r) }

// cause makes an error fit for a log.
func cause(err error) error {
	if w := word(err); w != "" {
		return refusal(w)
	}
	return err
}

// loginFailure classes a failed login of the administrator: nothing has happened yet.
func loginFailure(endpoint string, err error) error {
	var bad *tls.CertificateVerificationError
	switch w := word(err); {
	case w == "WRONGPASS" || w == "NOAUTH" || w == "NOPERM":
		return rotator.Fail(rotator.Denied, cause(err), "the administrator cannot log in at %s: check the name and the password", endpoint)
	case w == "LOADING" || w == "BUSY" || full(err):
		return rotator.Fail(rotator.Busy, cause(err), "%s lets nobody in at the moment: wait", endpoint)
	case errors.As(err, &bad):
		return rotator.Fail(rotator.Misconfigured, cause(err), "%s has no valid certificate: give it one, or set tls or plaintext", endpoint)
	}
	return rotator.Fail(rotator.NotApplied, cause(err), "logging in at %s failed: look whether it is up", endpoint)
}

// before classes an error from before any effect.
func (n *node) before(err error, doing string) error {
	switch word(err) {
	case "NOPERM", "NOAUTH":
		return rotator.Fail(rotator.Denied, cause(err), "%s at %s: the administrator lacks a right: see the rules in the rotator's page", doing, n.endpoint)
	case "BUSY", "LOADING":
		return rotator.Fail(rotator.Busy, cause(err), "%s at %s: the server is busy: wait", doing, n.endpoint)
	}
	return rotator.Fail(rotator.NotApplied, cause(err), "%s at %s failed: nothing was changed", doing, n.endpoint)
}

// setting classes an error of ACL SETUSER, which changes all or nothing. A reply that is no success is a refusal; no reply is a doubt.
func (n *node) setting(err error) error {
	if isReply(err) {
		return n.before(err, "setting passwords")
	}
	return rotator.Fail(rotator.Doubt, err, "setting passwords at %s: probe before the next try", n.endpoint)
}
