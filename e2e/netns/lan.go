package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// LAN is a network of hosts that are network namespaces of this process, joined by a bridge. It needs a network namespace of the caller's own (Enter
// with Network), goes with it, and takes the network 10.9.0.0/24: the caller has 10.9.0.254 and reaches every host.
type LAN struct{ hosts int }

// Host is one of them.
type Host struct {
	// Address is the host's, without a length.
	Address string

	space *os.File
	port  string // the bridge's end of the cable
}

const (
	bridge = "lan0"
	// Gateway is the address of whoever made the network.
	Gateway = "10.9.0.254"
	// lanBits is the length of the network's prefix.
	lanBits = 24
)

// NewLAN makes a network without hosts.
func NewLAN(t testing.TB) *LAN {
	t.Helper()
	must(t, ip("link", "add", bridge, "type", "bridge"))
	must(t, ip("addr", "add", fmt.Sprintf("%s/%d", Gateway, lanBits), "dev", bridge))
	must(t, ip("link", "set", bridge, "up"))
	return &LAN{}
}

// Host adds a host, which goes with the test.
func (l *LAN) Host(t testing.TB) *Host {
	t.Helper()
	l.hosts++
	h := &Host{Address: fmt.Sprintf("10.9.0.%d", l.hosts), port: fmt.Sprintf("port%d", l.hosts)}
	var err error
	if h.space, err = newSpace(); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	t.Cleanup(func() { h.space.Close() })
	inside := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.space.Fd())
	must(t, ip("link", "add", h.port, "type", "veth", "peer", "name", "eth0", "netns", inside))
	must(t, h.Heal())
	must(t, ip("link", "set", h.port, "up"))
	must(t, h.Within(func() error {
		return errors.Join(ip("addr", "add", fmt.Sprintf("%s/%d", h.Address, lanBits), "dev", "eth0"), ip("link", "set", "eth0", "up"), ip("link", "set", "lo", "up"))
	}))
	return h
}

// Within calls do on a thread of the host: processes that do starts itself, not in another goroutine, live there. What do does in Go is not bound to the
// host: a connection that it opens may come from elsewhere.
func (h *Host) Within(do func() error) error { return inSpace(h.space, do) }

// Cut takes the cable out, silently: what is sent is lost, and connections stay open.
func (h *Host) Cut() error { return ip("link", "set", h.port, "nomaster") }

// Heal puts it in again.
func (h *Host) Heal() error { return ip("link", "set", h.port, "master", bridge) }

// newSpace makes a network namespace, which lives as long as the file is open or a process is in it.
func newSpace() (space *os.File, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		space, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return space, err
}

func inSpace(space *os.File, do func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network namespace: %w", err)
		}
		return do()
	})
}

// onThread calls do on the caller's thread, which is in its network namespace again afterwards. It is not a thread of its own: the kernel ends the children of a
// thread that ends, where they asked for that.
func onThread(do func() error) (err error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	defer func() {
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, fmt.Errorf("leaving a network namespace: %w", back))
			return // locked: the thread must not serve anybody else
		}
		runtime.UnlockOSThread()
	}()
	return do()
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w\n%s", args, err, out)
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
