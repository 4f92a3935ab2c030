package frontdoor

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/process"
)

// rule makes an access rule and returns its MAC key and the directory.
func (s *shop) rule(name string, args ...string) (mac, directory string) {
	s.Helper()
	var r struct {
		MACKey    string `json:"macKey"`
		Directory string `json:"directory"`
	}
	if err := json.Unmarshal([]byte(s.run(append([]string{"cert", "issuer", "acme", "set", "corporate", name, "--output", "json"}, args...)...)), &r); err != nil {
		s.Fatal(err)
	}
	return r.MACKey, r.Directory
}

func (s *shop) orders() (list []api.Enrolment) {
	s.Helper()
	if err := json.Unmarshal([]byte(s.run("cert", "issuer", "acme", "orders", "corporate", "--output", "json")), &list); err != nil {
		s.Fatal(err)
	}
	return list
}

// certbot gets, renews and revokes a certificate by itself.
func TestCertbot(t *testing.T) {
	programs, inside := enter(t, "certbot")
	if !inside {
		return
	}
	s := open(t)
	mac, directory := s.rule("web", "--domain", "shop.example", "--max-days", "30")
	certbot := func(args ...string) *exec.Cmd {
		cmd := exec.Command(programs[0], append(args, "--non-interactive", "--server", directory, "--config-dir", s.dir+"/le", "--work-dir", s.dir+"/work", "--logs-dir", s.dir+"/logs")...)
		cmd.Env, cmd.Dir = s.env, s.dir
		return cmd
	}
	s.output(certbot("certonly", "--standalone", "--email", "ops@shop.example", "--no-eff-email", "--agree-tos", "--eab-kid", "web", "--eab-hmac-key", mac,
		"-d", "www.shop.example", "-d", "api.shop.example"))
	live := filepath.Join(s.dir, "le", "live", "www.shop.example")
	first := leafOf(t, filepath.Join(live, "cert.pem"))
	if err := first.VerifyHostname("api.shop.example"); err != nil {
		t.Error(err)
	}
	s.output(certbot("renew", "--force-renewal", "--no-random-sleep-on-renew"))
	second := leafOf(t, filepath.Join(live, "cert.pem"))
	if second.Equal(first) {
		t.Error("nothing was renewed")
	}
	s.output(certbot("revoke", "--cert-path", filepath.Join(live, "cert.pem"), "--reason", "keycompromise", "--no-delete-after-revoke"))
	list := s.orders()
	if len(list) != 2 || list[0].Serial != first.SerialNumber.Text(16) || list[1].Serial != second.SerialNumber.Text(16) || list[0].Revoked != nil || list[1].Reason != "keyCompromise" || list[1].Rule != "web" {
		t.Errorf("the orders are %+v", list)
	}
}

const caddyConfig = `{
  admin off
  storage file_system DIR/caddy
  acme_ca URL
  acme_ca_root CA
  acme_eab {
    key_id proxy
    mac_key MAC
  }
  email ops@shop.example
  skip_install_trust
}
www.shop.example {
  respond "shop"
}
`

// Caddy enrols when it starts, proves its name on its own ports, and serves.
func TestCaddy(t *testing.T) {
	programs, inside := enter(t, "caddy")
	if !inside {
		return
	}
	s := open(t)
	mac, directory := s.rule("proxy", "--name", "www.shop.example")
	conf := s.write("Caddyfile", strings.NewReplacer("DIR", s.dir, "URL", directory, "CA", s.values["SSL_CERT_FILE"], "MAC", mac).Replace(caddyConfig))
	cmd := exec.Command(programs[0], "run", "--config", conf, "--adapter", "caddyfile")
	cmd.Env = append(s.env, "XDG_CONFIG_HOME="+s.dir, "XDG_DATA_HOME="+s.dir)
	caddy, err := process.Start("caddy", cmd)
	if err != nil {
		t.Fatal(err)
	}
	s.stops(caddy, "caddy", syscall.SIGTERM)
	got := s.serves("www.shop.example", nil)
	list := s.orders()
	if len(list) != 1 || list[0].Serial != got.SerialNumber.Text(16) || list[0].Rule != "proxy" {
		t.Errorf("the orders are %+v; %s is served", list, got.SerialNumber.Text(16))
	}
}
