package netns_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/netns"
)

func TestMain(m *testing.M) {
	netns.Init()
	os.Exit(m.Run())
}

const hosts = "127.0.0.1 localhost demo.vault.azure.net\n169.254.169.254 metadata.test\n"

func TestOwnNetwork(t *testing.T) {
	spec := netns.Spec{Network: true, Addresses: []string{"169.254.169.254"}, Hosts: hosts, ResolvConf: "nameserver 127.0.0.1\n"}
	if !netns.Enter(t, spec) {
		return
	}
	for _, address := range []string{"demo.vault.azure.net:443", "metadata.test:80"} {
		t.Run(address, func(t *testing.T) {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c, err := net.DialTimeout("tcp", address, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
	}
	interfaces, err := net.Interfaces()
	if err != nil || len(interfaces) != 1 || interfaces[0].Name != "lo" {
		t.Errorf("interfaces: %v, %v; want lo alone", interfaces, err)
	}
	if got, err := os.ReadFile("/etc/resolv.conf"); err != nil || string(got) != "nameserver 127.0.0.1\n" {
		t.Errorf("/etc/resolv.conf: %q, %v", got, err)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), "/netns-") {
		t.Errorf("the scratch mount is still there: %v", err)
	}
}

// need skips the test, loudly, when something that it needs is missing, and fails it in CI.
func need(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skip("SKIPPED, NOT PASSED: ", err)
}

func TestOwnMountsKeepTheNetwork(t *testing.T) {
	need(t, netns.Available(false))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := netns.Spec{Hosts: hosts}.Command(t.Context(), "cat", "/etc/hosts", "/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), hosts) {
		t.Errorf("inside, the files read %q (%v)", out, err)
	}
	if !strings.Contains(string(out), ":"+strings.ToUpper(hex4(l.Addr().(*net.TCPAddr).Port))) {
		t.Error("inside, the machine's listener is not to be seen")
	}
	if after, err := os.ReadFile("/etc/hosts"); err != nil || string(after) != string(before) {
		t.Errorf("the machine's own hosts file changed (%v)", err)
	}
}

func hex4(port int) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[port>>12&15], digits[port>>8&15], digits[port>>4&15], digits[port&15]})
}

func TestAddressesNeedANetwork(t *testing.T) {
	need(t, netns.Available(false))
	cmd, err := netns.Spec{Addresses: []string{"169.254.169.254"}}.Command(t.Context(), "true")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "set Network") {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestUnprivileged runs the tests above again as a user without any right, whom only a user namespace helps.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: the other tests already run without privileges")
	}
	runuser, err := exec.LookPath("runuser")
	need(t, err)
	dir, err := os.MkdirTemp("", "netns-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/netns.test", binary, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), runuser, "-u", "nobody", "--", dir+"/netns.test", "-test.v", "-test.run=^TestOwn")
	cmd.Dir = dir
	// Whether users without rights may make namespaces is the machine's policy, not a missing tool: no failure in CI.
	cmd.Env = append(os.Environ(), "CI=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	if strings.Contains(string(out), "SKIPPED, NOT PASSED") {
		t.Skipf("SKIPPED, NOT PASSED: this machine gives no namespaces to unprivileged users:\n%s", out)
	}
}
