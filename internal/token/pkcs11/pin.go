package pkcs11

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
)

// maxPINBytes bounds what is read as a PIN. Tokens have shorter ones.
const maxPINBytes = 256

// ReadPIN reads a PIN from a file, without one line break at its end. The file must be readable by its owner alone, who has to be the user of the process.
func ReadPIN(path string) (redact.String, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return "", fault.New(fault.Invalid, "the PIN file %s is a symbolic link: name the file itself", path)
	}
	if err != nil {
		return "", fmt.Errorf("reading the PIN of the token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading the PIN of the token: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || !ok || int(owner.Uid) != os.Geteuid() {
		return "", fault.New(fault.Invalid, "the PIN file %s is not a file that only this user can read (mode %04o): run chown %d and chmod 0600 on it", path,
			info.Mode().Perm(), os.Geteuid())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPINBytes+2))
	defer clear(text)
	if err != nil {
		return "", fmt.Errorf("reading the PIN of the token: %w", err)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(line) == 0 || len(line) > maxPINBytes || bytes.ContainsAny(line, "\r\n\x00") {
		return "", fault.New(fault.Invalid, "the PIN file %s has to hold the PIN alone, in one line of at most %d bytes", path, maxPINBytes)
	}
	return redact.String(line), nil
}
