package server

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// parseChain parses the certificates that are sent to clients.
func parseChain(ders [][]byte) (chain []*x509.Certificate, err error) {
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("a certificate of the chain cannot be read: %w", err)
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// clockUnsynchronised is what adjtimex(2) returns while nobody keeps the clock (TIME_ERROR).
const clockUnsynchronised = 5

// clock looks whether somebody keeps the clock, and whether it runs as fast as the machine's own.
func (d *doctor) clock() {
	const check = "clock"
	began := time.Now()
	time.Sleep(50 * time.Millisecond)
	ended := time.Now()
	wall, monotonic := ended.Round(0).Sub(began.Round(0)), ended.Sub(began)
	if drift := (wall - monotonic).Abs(); drift > 10*time.Millisecond {
		d.fail(check, "stop what sets the clock by leaps, and let NTP slew it", "it was moved by %s while it was looked at", drift)
		return
	}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil || state == clockUnsynchronised {
		d.warn(check, "let NTP or PTP keep it: tokens, expiries and rotations depend on it", "nobody says that it is synchronised")
		return
	}
	d.ok(check, "synchronised, to within %s", (time.Duration(t.Maxerror) * time.Microsecond).Round(time.Millisecond))
}

// memory looks whether keys could get out of memory by the way of the kernel.
func (d *doctor) memory() {
	text, err := os.ReadFile("/proc/swaps")
	if err == nil {
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			device, _, _ := strings.Cut(strings.ReplaceAll(lines.Text(), "\t", " "), " ")
			if device != "Filename" && device != "" && !strings.HasPrefix(device, "/dev/zram") && !strings.HasPrefix(device, "/dev/dm-") {
				d.warn("memory", "turn swap off, or encrypt it", "keys could be written to %s, which is not encrypted as far as can be seen", device)
				return
			}
		}
	}
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil {
		d.warn("memory", "let the service set its own limits", "the limit of core files cannot be read: %s", err)
		return
	}
	d.ok("memory", "no swap that is not encrypted; the server turns memory dumps off for itself")
}

// limits looks whether the process may have as many files open as connections.
func (d *doctor) limits() {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		d.warn("limits", "look at ulimit -n", "the limit of open files cannot be read: %s", err)
		return
	}
	need := uint64(256)
	for _, name := range listenerNames {
		if addressOf(d.file, name) != "" {
			need += uint64(d.file.Limits.MaxConnections)
		}
	}
	if files.Max < need {
		d.warn("limits", fmt.Sprintf("set LimitNOFILE=%d for the service, or fewer limits.maxConnections", need), "%d files may be open, and %d connections want %d", files.Max, need-256, need)
		return
	}
	d.ok("limits", "%d files may be open", files.Max)
}
