package natstest_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/keywright/keywright/e2e/natstest"
)

func TestServer(t *testing.T) {
	s := natstest.Run(t, natstest.Config{})
	connect := func() error {
		conn, err := nats.Connect("nats://"+s.Address(), nats.UserInfo("app", "canary"), nats.NoReconnect())
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := connect(); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("an unknown user: %v", err)
	}
	if err := os.WriteFile(s.UsersFile(), []byte(`{"users": [{"user": "app", "password": "canary"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := connect(); err != nil {
		t.Errorf("a user that was added: %v", err)
	}
	log, err := s.Logs()
	if err != nil || !strings.Contains(string(log), "Reloaded") || strings.Contains(string(log), "canary") {
		t.Errorf("the log lacks the reload, or shows the password (%v)", err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{s.Address(), s.Monitoring()} {
		l, err := net.Listen("tcp4", address)
		if err != nil {
			t.Errorf("a port is still taken: %v", err)
			continue
		}
		l.Close()
	}
	if err := s.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}
