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
// with Network), goes with it, and takes the network 10.9.0.0/24, or another one behind it: the caller has the address Gateway there and reaches every host.
type LAN struct {
	// Gateway is the address of whoever made the network.
	Gateway string

	number, hosts int
}

// Host is one of them.
type Host struct {
	// Address is the host's, without a length.
	Address string

	space *os.File
	lan   *LAN
	port  string // the bridge's end of the cable
}

const (
	// firstLAN is the second number of the addresses of the first network.
	firstLAN = 9
	// lanBits is the length of a network's prefix.
	lanBits = 24
)

// NewLAN makes a network without hosts: the first of the namespace.
func NewLAN(t testing.TB) *LAN {
	t.Helper()
	return NewLANs(t, 1)[0]
}

// NewLANs makes several networks without hosts, between which nothing is carried: all of the namespace.
func NewLANs(t testing.TB, count int) (list []*LAN) {
	t.Helper()
	for number := range count {
		l := &LAN{Gateway: fmt.Sprintf("10.%d.0.254", firstLAN+number), number: number}
		must(t, ip("link", "add", l.bridge(), "type", "bridge"))
		must(t, ip("addr", "add", fmt.Sprintf("%s/%d", l.Gateway, lanBits), "dev", l.bridge()))
		must(t, ip("link", "set", l.bridge(), "up"))
		list = append(list, l)
	}
	return list
}

func (l *LAN) bridge() string { return fmt.Sprint("lan", l.number) }

// Host adds a host, which goes with the test.
func (l *LAN) Host(t testing.TB) *Host {
	t.Helper()
	space, err := newSpace()
	if err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	t.Cleanup(func() { space.Close() })
	h := l.plug(t, space)
	must(t, h.Within(func() error { return ip("link", "set", "lo", "up") }))
	return h
}

// Also gives a host of another network an address and a cable in this one. Cut and Heal of what it returns mean that cable.
func (l *LAN) Also(t testing.TB, h *Host) *Host {
	t.Helper()
	return l.plug(t, h.space)
}

// plug lays a cable between the network and a namespace.
func (l *LAN) plug(t testing.TB, space *os.File) *Host {
	t.Helper()
	l.hosts++
	h := &Host{Address: fmt.Sprintf("10.%d.0.%d", firstLAN+l.number, l.hosts), space: space, lan: l, port: fmt.Sprintf("port%d-%d", l.number, l.hosts)}
	inside, card := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), space.Fd()), fmt.Sprint("eth", l.number)
	must(t, ip("link", "add", h.port, "type", "veth", "peer", "name", card, "netns", inside))
	must(t, h.Heal())
	must(t, ip("link", "set", h.port, "up"))
	must(t, h.Within(func() error {
		return errors.Join(ip("addr", "add", fmt.Sprintf("%s/%d", h.Address, lanBits), "dev", card), ip("link", "set", card, "up"))
	}))
	return h
}

// Within calls do on a thread of the host: processes that do starts itself, not in another goroutine, live there. What do does in Go is not bound to the
// host: a connection that it opens may come from elsewhere.
func (h *Host) Within(do func() error) error { return inSpace(h.space, do) }

// Cut takes the cable out, silently: what is sent is lost, and connections stay open.
func (h *Host) Cut() error { return ip("link", "set", h.port, "nomaster") }

// Heal puts it in again.
func (h *Host) Heal() error { return ip("link", "set", h.port, "master", h.lan.bridge()) }

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
