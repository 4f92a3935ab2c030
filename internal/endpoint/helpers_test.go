package endpoint_test

import (
	"encoding/base64"
	"os"
	"syscall"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// noRoute is how a machine without IPv6 fails.
var noRoute = os.NewSyscallError("connect", syscall.ENETUNREACH)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func deletion(at time.Time) *vault.Deletion {
	return &vault.Deletion{At: at, PurgeAt: at.Add(90 * day)}
}
