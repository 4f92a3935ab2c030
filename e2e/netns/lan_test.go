package netns_test

import (
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/process"
)

func TestLAN(t *testing.T) {
	if !netns.Enter(t, netns.Spec{Network: true}) {
		return
	}
	lan := netns.NewLAN(t)
	one, two := lan.Host(t), lan.Host(t)
	if one.Address == two.Address {
		t.Fatalf("two hosts have the address %s", one.Address)
	}
	answer := func(h *netns.Host) {
		t.Helper()
		cmd := exec.Command("python3", "-m", "http.server", "--bind", h.Address, "8080")
		if err := h.Within(func() error {
			p, err := process.Start("a server", cmd)
			if err == nil {
				t.Cleanup(func() { _ = p.Stop(9, time.Second) })
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	answer(one)
	reached := func(h *netns.Host) bool {
		c, err := net.DialTimeout("tcp", h.Address+":8080", time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	within := func(h *netns.Host, want bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); reached(h) != want; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s is reached: %v, want %v", h.Address, !want, want)
			}
		}
	}
	within(one, true)
	if reached(two) {
		t.Error("a host on which nothing runs answers: it is not one of its own")
	}
	if err := one.Cut(); err != nil {
		t.Fatal(err)
	}
	within(one, false)
	if err := one.Heal(); err != nil {
		t.Fatal(err)
	}
	within(one, true)
}
