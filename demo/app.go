package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/keywright/keywright/e2e/npm"
	"github.com/keywright/keywright/e2e/process"
)

// sample names the package of a sample application and its cache.
func (s *stage) sample(name string) npm.Config {
	return npm.Config{
		Package: filepath.Join(s.root, "demo", name),
		Cache:   filepath.Join(s.root, ".cache", "npm"),
		Log:     s.log(),
	}
}

// app is a running sample application.
type app struct {
	process *process.Process
	address string // of its health check
}

// appEnvironment is what the platform gives an application: an identity, not a credential. Nothing else of this
// machine is in it, so that the application cannot get at the vault in any other way (dev.env also holds a client
// secret, which DefaultAzureCredential would prefer).
func appEnvironment(k *keywright, caFile string, settings ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"),
		"IDENTITY_ENDPOINT=" + k.env["IDENTITY_ENDPOINT"],
		"IDENTITY_HEADER=" + k.env["IDENTITY_HEADER"],
		"NODE_EXTRA_CA_CERTS=" + caFile,
	}, settings...)
}

// startApp starts the application that lies in dir. cmd is `node server.js`, in a namespace or not.
func startApp(o options, cmd *exec.Cmd, dir string, port int, env []string) (*app, error) {
	cmd.Dir = dir
	cmd.Env = append(env, fmt.Sprintf("PORT=%d", port))
	o.listen(cmd)
	p, err := process.Start("the application", cmd)
	if err != nil {
		return nil, err
	}
	return &app{process: p, address: fmt.Sprintf("http://127.0.0.1:%d/healthz", port)}, nil
}

func (a *app) stop() error { return a.process.Stop(syscall.SIGTERM, 5*time.Second) }

// healthy waits for the application's answer, and returns an error with what it printed unless that is "healthy".
func (a *app) healthy(ctx context.Context) (string, error) {
	var answer string
	var status int
	err := a.process.Await(ctx, 60*time.Second, func() bool {
		var err error
		status, answer, err = get(ctx, a.address)
		return err == nil
	})
	if err != nil {
		return "", err
	}
	if status != http.StatusOK || answer != "healthy" {
		return "", fmt.Errorf("GET %s answered %d %q; the application printed:\n%s", a.address, status, answer, a.process.Tail())
	}
	return answer, nil
}

// get does not follow the proxy settings of this machine: the address is on loopback.
func get(ctx context.Context, address string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, "", err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return response.StatusCode, strings.TrimSpace(string(body)), errors.Join(err, response.Body.Close())
}
