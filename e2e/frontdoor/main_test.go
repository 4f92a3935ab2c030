package frontdoor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/e2e/program"
)

// binaryVariable tells the copy of a test in the namespace where the program is.
const binaryVariable = "KEYWRIGHT_FRONTDOOR_BINARY"

const root = "../.."

// hosts gives the shop its names.
const hosts = "127.0.0.1 localhost www.shop.example api.shop.example\n"

func TestMain(m *testing.M) {
	netns.Init()
	code := m.Run()
	built.Remove()
	os.Exit(code)
}

// built is the program that the tests start.
var built = &program.Program{Variable: binaryVariable, Root: root}

// enter moves the test into its namespace, with the program built. It returns the paths of the programs that it needs.
func enter(t *testing.T, programs ...string) (paths []string, inside bool) {
	t.Helper()
	t.Parallel()
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			path, err = exec.LookPath("/usr/sbin/" + name)
		}
		if err != nil {
			message := name + " is not installed: run scripts/deps"
			if os.Getenv("CI") == "true" {
				t.Fatal(message)
			}
			t.Skip("SKIPPED, NOT PASSED: ", message)
		}
		paths = append(paths, path)
	}
	built.Build(t)
	return paths, netns.Enter(t, netns.Spec{Network: true, Hosts: hosts})
}

// shop is a running server with an authority in its vault, and an issuer "corporate" that signs with it.
type shop struct {
	*testing.T
	dir string
	env []string
	// values are the variables of env.
	values map[string]string
	roots  *x509.CertPool
}

func open(t *testing.T) *shop {
	t.Helper()
	dir := t.TempDir()
	s := &shop{T: t, dir: dir, values: map[string]string{}}
	cmd := exec.Command(os.Getenv(binaryVariable), "dev", "--dir", filepath.Join(dir, "dev"), "--listen", "127.0.0.1:0")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	p, err := process.Start("keywright dev", cmd)
	if err != nil {
		t.Fatal(err)
	}
	s.stops(p, "keywright dev", syscall.SIGTERM)
	if err := p.Await(t.Context(), time.Minute, s.ready); err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, cmd.Env...)
	s.run("cert", "create", "root", "--issuer", "Self", "--issuer-type", "root", "--subject", "CN=Shop Root")
	s.run("cert", "issuer", "set", "roots", "--provider", "Keywright CA", "--option", "certificate=root", "--option", "profile=intermediate")
	s.run("cert", "create", "issuing", "--issuer", "roots", "--issuer-type", "intermediate", "--subject", "CN=Shop Issuing")
	s.run("cert", "issuer", "set", "corporate", "--provider", "Keywright CA", "--option", "certificate=issuing")
	s.roots = x509.NewCertPool()
	if !s.roots.AppendCertsFromPEM([]byte(s.run("cert", "get", "root"))) {
		t.Fatal("the root cannot be read")
	}
	return s
}

// stops ends a program with the test.
func (s *shop) stops(p *process.Process, name string, signal syscall.Signal) {
	s.Cleanup(func() {
		if err := p.Stop(signal, 10*time.Second); err != nil {
			s.Errorf("%s: %v", name, err)
		}
		if s.Failed() {
			s.Logf("%s said:\n%s", name, p.Tail())
		}
	})
}

// ready reads dev.env, once it is there.
func (s *shop) ready() bool {
	content, err := os.ReadFile(filepath.Join(s.dir, "dev", "dev.env"))
	if err != nil {
		return false
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		s.values[name] = value
		s.env = append(s.env, lines.Text())
	}
	return true
}

// command is one of the program's own, in the vault.
func (s *shop) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Getenv(binaryVariable), append(args, "--vault", s.values["KEYWRIGHT_VAULT_NAME"])...)
	cmd.Env, cmd.Dir = s.env, s.dir
	return cmd
}

func (s *shop) run(args ...string) string {
	s.Helper()
	return s.output(s.command(args...))
}

func (s *shop) output(cmd *exec.Cmd) string {
	s.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

func (s *shop) write(name, content string) string {
	s.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

// client believes the shop's root and nothing else. Each of its requests is a connection of its own, whose certificate is looked at.
func (s *shop) client(served func(*x509.Certificate)) *http.Client {
	config := &tls.Config{RootCAs: s.roots, VerifyConnection: func(state tls.ConnectionState) error {
		served(state.PeerCertificates[0])
		return nil
	}}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}}
}

// serves waits until a server presents a certificate that the shop's authority signed for the name, and that is another one than before.
func (s *shop) serves(name string, before *x509.Certificate) *x509.Certificate {
	s.Helper()
	var last error
	ctx, cancel := context.WithTimeout(s.Context(), 30*time.Second)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		var now *x509.Certificate
		r, err := s.client(func(c *x509.Certificate) { now = c }).Get("https://" + name + "/")
		if last = err; err != nil {
			continue
		}
		r.Body.Close()
		if before == nil || !now.Equal(before) {
			return now
		}
	}
	s.Fatalf("%s presents no other certificate: %v", name, last)
	return nil
}

func leafOf(t testing.TB, path string) *x509.Certificate {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatalf("%s holds no certificate", path)
	return nil
}
