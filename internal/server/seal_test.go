package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/audit"
)

func local(t *testing.T, dir string) *client.Local {
	t.Helper()
	l, err := client.NewLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func startWith(t *testing.T, dir string, s SealConfig) (*Dev, error) {
	t.Helper()
	return StartDev(t.Context(), DevConfig{Config: Config{Dir: dir, Seal: s, AuditSegmentBytes: 1 << 20, AuditReserveBytes: 1 << 20}, Listen: "127.0.0.1:0"})
}

func mustStart(t *testing.T, dir string, s SealConfig) *Dev {
	t.Helper()
	d, err := startWith(t, dir, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func secretOf(t *testing.T, d *Dev) string {
	t.Helper()
	// What the first start sealed opens, or it would not hold its own credential.
	for _, line := range d.Env() {
		if v, ok := strings.CutPrefix(line, "AZURE_CLIENT_SECRET="); ok {
			return v
		}
	}
	t.Fatal("no credential")
	return ""
}

// A server moves to shares while it runs, starts sealed from then on, and moves back to a key file.
func TestSealMovesWhileTheServerRuns(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 20), "server") // longer than a socket's path may be
	d := mustStart(t, dir, SealConfig{})
	before := secretOf(t, d)
	l := local(t, dir)

	moved, err := l.MoveSeal(ctx, api.MoveSeal{Shares: 3, Threshold: 2})
	if err != nil || len(moved.Shares) != 3 || moved.Status.Next != "shamir" || moved.Status.Shares == nil || moved.Status.Shares.Needed != 2 {
		t.Fatalf("MoveSeal: %+v, %v", moved, err)
	}
	if _, err := l.FinishSealMove(ctx); client.KindOf(err) != client.Conflict {
		t.Errorf("finished before anything was proved: %v", err)
	}
	// Until the shares were given back, a start with the old seal is right.
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = mustStart(t, dir, SealConfig{})
	s, err := l.GiveShare(ctx, moved.Shares[2])
	if err != nil || s.Shares == nil || s.Shares.Given != 1 || s.Proved != nil {
		t.Fatalf("the first share: %+v, %v", s, err)
	}
	if s, err = l.GiveShare(ctx, moved.Shares[0]); err != nil || s.Wraps != "shamir" || s.Next != "" || s.Seal != "shamir" {
		t.Fatalf("the second share: %+v, %v", s, err)
	}
	if _, err := l.GiveShare(ctx, moved.Shares[1]); client.KindOf(err) != client.Conflict {
		t.Errorf("a share that nobody asked for: %v", err)
	}
	if got := records(t, d, "SealMoveBegin", "SealMoveProve", "SealMoveFinish", "SealShares"); got < 5 {
		t.Errorf("%d records of the move", got)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// Sealed: the socket answers, the listener says that nothing is ready.
	listen := freeAddress(t)
	type started struct {
		d   *Dev
		err error
	}
	done, told := make(chan started, 1), make(chan int, 1)
	go func() {
		d, err := StartDev(t.Context(), DevConfig{Config: Config{Dir: dir, Seal: SealConfig{Shares: true}, Sealed: func(n int) { told <- n }, AuditSegmentBytes: 1 << 20, AuditReserveBytes: 1 << 20}, Listen: listen})
		done <- started{d, err}
	}()
	var health api.Health
	eventually(t, "the sealed server answers", func() bool {
		status, ok := ask(listen, "/readyz", &health)
		return ok && status == http.StatusServiceUnavailable
	})
	if n := <-told; n != 2 {
		t.Errorf("the program was told of %d shares", n)
	}
	if len(health.Checks) != 1 || health.Checks[0].Detail != "sealed, 0 of 2 shares given" {
		t.Errorf("readiness: %+v", health)
	}
	if status, _ := ask(listen, "/healthz", &health); status != http.StatusOK {
		t.Errorf("health: %d", status)
	}
	if status, _ := ask(listen, "/secrets/db", &health); status != http.StatusServiceUnavailable {
		t.Errorf("a secret: %d", status)
	}
	if s, err := l.SealStatus(ctx); err != nil || !s.Sealed || s.Shares.Needed != 2 {
		t.Errorf("the status of a sealed server: %+v, %v", s, err)
	}
	if _, err := l.MoveSeal(ctx, api.MoveSeal{KeyFiles: []string{filepath.Join(dir, "other")}}); client.KindOf(err) != client.Unavailable {
		t.Errorf("a move of a sealed server: %v", err)
	}
	for _, i := range []int{1, 0} {
		if s, err = l.GiveShare(ctx, moved.Shares[i]); err != nil {
			t.Fatal(err)
		}
	}
	if s.Shares != nil {
		t.Errorf("the last share was given, and %+v are asked for", s.Shares)
	}
	up := <-done
	if up.err != nil {
		t.Fatal(up.err)
	}
	if secretOf(t, up.d) != before {
		t.Error("the credential did not stay the same")
	}
	if got := records(t, up.d, "SealShares"); got < 4 {
		t.Errorf("%d records of shares: those from before the log was open are missing", got)
	}

	file := filepath.Join(dir, "second.key")
	if moved, err = l.MoveSeal(ctx, api.MoveSeal{KeyFiles: []string{file}}); err != nil || moved.Status.Wraps != "keyfile" || moved.Status.Next != "" {
		t.Fatalf("the move back: %+v, %v", moved, err)
	}
	if err := up.d.Close(); err != nil {
		t.Fatal(err)
	}
	d = mustStart(t, dir, SealConfig{KeyFiles: []string{file}})
	if secretOf(t, d) != before {
		t.Error("the credential did not stay the same")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := startWith(t, dir, SealConfig{}); err == nil || !strings.Contains(err.Error(), "add that file") {
		t.Errorf("a start with the first key file: %v", err)
	}
	if _, err := startWith(t, dir, SealConfig{Shares: true}); err == nil || !strings.Contains(err.Error(), "keyfile") {
		t.Errorf("a start that waits for shares which open nothing: %v", err)
	}
}

func TestOldSealIsKeptForOtherNodes(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	phrase, file := filepath.Join(dir, "phrase"), filepath.Join(dir, "server")
	if err := os.WriteFile(phrase, []byte("five random words of yours\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := mustStart(t, file, SealConfig{})
	l := local(t, file)
	moved, err := l.MoveSeal(ctx, api.MoveSeal{PassphraseFile: phrase, KeepOld: true})
	if err != nil || moved.Status.Next != "passphrase" || moved.Status.Proved == nil {
		t.Fatalf("MoveSeal: %+v, %v", moved, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// Either opens.
	d = mustStart(t, file, SealConfig{})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = mustStart(t, file, SealConfig{PassphraseFile: phrase})
	defer d.Close()
	if _, err := l.GiveUpSealMove(ctx); client.KindOf(err) != client.Conflict {
		t.Errorf("a node that only the new seal opened gave up the move: %v", err)
	}
	if s, err := l.FinishSealMove(ctx); err != nil || s.Wraps != "passphrase" || s.Next != "" || s.Problem != "" {
		t.Errorf("FinishSealMove: %+v, %v", s, err)
	}
	if _, err := l.GiveUpSealMove(ctx); client.KindOf(err) != client.Conflict {
		t.Errorf("a move that is over was given up: %v", err)
	}
	if _, err := l.MoveSeal(ctx, api.MoveSeal{}); client.KindOf(err) != client.Invalid {
		t.Errorf("a move to nothing: %v", err)
	}
	if _, err := l.MoveSeal(ctx, api.MoveSeal{KeyFiles: []string{filepath.Join(dir, "k")}, KeepOld: true}); err != nil {
		t.Fatal(err)
	}
	if s, err := l.GiveUpSealMove(ctx); err != nil || s.Next != "" || s.Wraps != "passphrase" {
		t.Errorf("GiveUpSealMove: %+v, %v", s, err)
	}
}

// records counts what the installation's log tells of operations.
func records(t *testing.T, d *Dev, operations ...string) (n int) {
	t.Helper()
	if err := d.core.audit.sequencer.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for r, err := range d.core.audit.log.Query(t.Context(), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(operations, r.Operation) {
			n++
			if r.Caller.UPN == "" || r.Door != "local" {
				t.Errorf("the record of %s does not say who did it: %+v", r.Operation, r)
			}
		}
	}
	return n
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func ask(listen, path string, out *api.Health) (int, bool) {
	c := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := c.Get("https://" + listen + path)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	*out = api.Health{}
	json.NewDecoder(resp.Body).Decode(out)
	return resp.StatusCode, true
}
