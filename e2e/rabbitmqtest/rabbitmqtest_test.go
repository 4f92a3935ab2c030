package rabbitmqtest_test

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/rabbitmqtest"
)

func TestServer(t *testing.T) {
	s := rabbitmqtest.Run(t)
	status, answer, err := s.Call(t.Context(), http.MethodGet, "whoami", "")
	if err != nil || status != http.StatusOK || !strings.Contains(string(answer), `"administrator"`) {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	wrong := *s
	wrong.Password = "wrong"
	if status, _, err := wrong.Call(t.Context(), http.MethodGet, "whoami", ""); err != nil || status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d, %v", status, err)
	}
	// The broker answers before it logs.
	log, err := s.Logs()
	for begin := time.Now(); err == nil && !strings.Contains(string(log), "invalid credentials") && time.Since(begin) < 20*time.Second; log, err = s.Logs() {
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil || !strings.Contains(string(log), "invalid credentials") || strings.Contains(string(log), s.Password) {
		t.Errorf("the log lacks the refused login, or shows the password (%v)", err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, port := range []int{s.Port, s.TLSPort, s.ManagementPort, s.ManagementTLSPort} {
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
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
