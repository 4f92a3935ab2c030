package frontdoor

import (
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/process"
)

// nginxConfig is the least that nginx serves pages over TLS with. One file has the key and the chain.
const nginxConfig = `daemon off;
user root;
worker_processes 2;
pid DIR/nginx.pid;
error_log DIR/nginx.log warn;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  server {
    listen 127.0.0.1:443 ssl;
    server_name www.shop.example;
    ssl_certificate DIR/web.pem;
    ssl_certificate_key DIR/web.pem;
    location / { return 200 "shop"; }
  }
}
`

// A front door that takes its certificate from the vault follows renewals, while its clients see none of it: not one request fails.
func TestNginxFollowsRenewals(t *testing.T) {
	programs, inside := enter(t, "nginx")
	if !inside {
		return
	}
	s := open(t)
	s.run("cert", "create", "web", "--issuer", "corporate", "--subject", "CN=www.shop.example", "--dns", "www.shop.example", "--key-type", "EC")
	file := filepath.Join(s.dir, "web.pem")
	conf := s.write("nginx.conf", strings.ReplaceAll(nginxConfig, "DIR", s.dir))
	reload := programs[0] + " -c " + conf + " -s reload"
	// The watch comes first, so that there is a file; then nginx, which it cannot reload before: the command fails, and is run again.
	watch, err := process.Start("keywright cert get --watch", s.command("cert", "get", "web", "--key", "--file", file, "--watch", "--poll", "1s", "--exec", "test ! -e "+s.dir+"/nginx.pid || "+reload))
	if err != nil {
		t.Fatal(err)
	}
	s.stops(watch, "the watch", syscall.SIGTERM)
	if err := watch.Await(t.Context(), time.Minute, func() bool { _, err := os.Stat(file); return err == nil }); err != nil {
		t.Fatal(err)
	}
	nginx, err := process.Start("nginx", exec.Command(programs[0], "-c", conf))
	if err != nil {
		t.Fatal(err)
	}
	s.stops(nginx, "nginx", syscall.SIGQUIT)
	first := s.serves("www.shop.example", nil)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}

	// Load: each request is a handshake of its own, and others keep their connections.
	var requests, failed atomic.Int64
	var serials sync.Map
	end := make(chan struct{})
	var load sync.WaitGroup
	for n := range 8 {
		load.Go(func() {
			client := s.client(func(c *x509.Certificate) { serials.Store(c.SerialNumber.Text(16), true) })
			client.Transport.(*http.Transport).DisableKeepAlives = n%4 != 0
			for {
				select {
				case <-end:
					return
				default:
				}
				r, err := client.Get("https://www.shop.example/")
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
					r.Body.Close()
				}
				requests.Add(1)
				if err != nil {
					failed.Add(1)
					t.Errorf("request %d: %v", requests.Load(), err)
				}
			}
		})
	}
	const renewals = 3
	before := first
	for range renewals {
		s.run("cert", "create", "web", "--issuer", "corporate", "--subject", "CN=www.shop.example", "--dns", "www.shop.example", "--key-type", "EC")
		before = s.serves("www.shop.example", before)
	}
	time.Sleep(300 * time.Millisecond) // connections of the workers before end now
	close(end)
	load.Wait()
	seen := 0
	serials.Range(func(any, any) bool { seen++; return true })
	if failed.Load() != 0 || seen < renewals+1 || requests.Load() < 100 {
		t.Errorf("%d of %d requests failed, and %d certificates were presented; want none, and %d", failed.Load(), requests.Load(), seen, renewals+1)
	}
	t.Logf("%d requests, %d certificates", requests.Load(), seen)
	// The ledger knows that the front door has it, as soon as the acknowledgement came, which nobody waits for.
	holders := ""
	for tries := 0; !strings.Contains(holders, `"loaded"`) && tries < 50; tries++ {
		if tries > 0 {
			time.Sleep(200 * time.Millisecond)
		}
		holders = s.run("version", "holders", "web", "--output", "json")
	}
	if !strings.Contains(holders, `"loaded"`) {
		t.Errorf("the ledger does not tell of the front door: %s", holders)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, ".web.pem.*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
