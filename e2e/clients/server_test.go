package clients_test

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/process"
)

// server is `keywright dev`, running, with what the tests enrolled.
type server struct {
	cloud
	dir string
	// env is the content of dev.env.
	env map[string]string
	enrolment
}

// start runs a server with what clients sign in with. It ends with the test.
func start(t *testing.T, c cloud) *server {
	t.Helper()
	s := &server{cloud: c, dir: filepath.Join(t.TempDir(), "dev")}
	t.Cleanup(s.run(t))
	s.enrolment = enrol(t, s)
	s.relayMetadata(t)
	return s
}

// run starts the program and waits until it is ready. The function that it returns ends it and checks that it ended well.
func (s *server) run(t *testing.T) (stop func()) {
	t.Helper()
	cmd := exec.Command(os.Getenv(binaryVariable), "dev", "--dir", s.dir, "--listen", s.listen, "--suffix", s.suffix)
	cmd.Env = clean()
	p, err := process.Start("keywright dev", cmd)
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		if err := p.Stop(syscall.SIGTERM, 10*time.Second); err != nil {
			t.Error(err)
		}
		if !p.Succeeded() {
			t.Errorf("the server did not end well:\n%s", p.Tail())
		}
	}
	err = p.Await(t.Context(), time.Minute, func() bool {
		var err error
		s.env, err = readEnv(filepath.Join(s.dir, "dev.env"))
		return err == nil
	})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	return stop
}

// readEnv reads KEY=VALUE lines.
func readEnv(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	env := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			env[name] = value
		}
	}
	return env, lines.Err()
}

// relayMetadata lets the address of the metadata service, whose port no option of any client changes, lead to the server's
// identity endpoint.
func (s *server) relayMetadata(t *testing.T) {
	t.Helper()
	target := strings.TrimPrefix(s.env["IDENTITY_ENDPOINT"], "http://")
	target, _, _ = strings.Cut(target, "/")
	l, err := net.Listen("tcp4", metadataAddress+":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go relay(from, target)
		}
	}()
}

func relay(from net.Conn, target string) {
	defer from.Close()
	to, err := net.Dial("tcp4", target)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		io.Copy(to, from)
		to.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(from, to)
}

// signIn is a way to prove who a client is, as the environment gives it.
type signIn string

const (
	bySecret      signIn = "secret"
	byCertificate signIn = "certificate"
	byWorkload    signIn = "workload"
	// The ways below belong to a managed identity, which may read secrets and nothing else.
	byAppService    signIn = "app-service"
	byOldAppService signIn = "old-app-service"
	byMetadata      signIn = "metadata"
)

// environment is what an application is given that signs in this way: its vault, the CA, one kind of credential.
func (s *server) environment(way signIn) map[string]string {
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": s.dir,
		"VAULT_URL":     s.vaultURL("demo"),
		tenantVariable:  s.env[tenantVariable],
		"SSL_CERT_FILE": s.env["SSL_CERT_FILE"], "NODE_EXTRA_CA_CERTS": s.env["NODE_EXTRA_CA_CERTS"], "REQUESTS_CA_BUNDLE": s.env["REQUESTS_CA_BUNDLE"],
	}
	switch way {
	case byAppService:
		maps.Copy(env, map[string]string{"IDENTITY_ENDPOINT": s.env["IDENTITY_ENDPOINT"], "IDENTITY_HEADER": s.env["IDENTITY_HEADER"]})
		return env
	case byOldAppService:
		maps.Copy(env, map[string]string{"MSI_ENDPOINT": s.env["IDENTITY_ENDPOINT"], "MSI_SECRET": s.env["IDENTITY_HEADER"]})
		return env
	case byMetadata:
		return env
	}
	env["AZURE_CLIENT_ID"] = s.env["AZURE_CLIENT_ID"]
	env["AZURE_TENANT_ID"] = s.env["KEYWRIGHT_TENANT_ID"]
	if !s.public {
		env["AZURE_TENANT_ID"], env["AZURE_AUTHORITY_HOST"] = s.env["AZURE_TENANT_ID"], s.env["AZURE_AUTHORITY_HOST"]
	}
	switch way {
	case bySecret:
		env["AZURE_CLIENT_SECRET"] = s.env["AZURE_CLIENT_SECRET"]
	case byCertificate:
		env["AZURE_CLIENT_CERTIFICATE_PATH"] = s.certificateFile
	case byWorkload:
		// Kubernetes' webhook sets these.
		env["AZURE_FEDERATED_TOKEN_FILE"] = s.tokenFile
		if s.public {
			env["AZURE_AUTHORITY_HOST"] = "https://" + s.login + "/"
		}
	}
	return env
}

// lines is an environment for exec.Cmd.
func lines(env map[string]string) []string {
	var out []string
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	return out
}

// runClient runs a program and returns what it printed. A failure of it is one of the test.
func runClient(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		t.Fatalf("%s: %v", filepath.Base(cmd.Path), err)
	} else if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
