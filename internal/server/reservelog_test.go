package server

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/audit/segment"
)

// TestReserveAlarmIsLogged starts a server whose audit log cannot fill its reserve, as the name of the file that it makes first is
// taken by a directory.
func TestReserveAlarmIsLogged(t *testing.T) {
	var out lines
	config := Config{Dir: t.TempDir(), Logger: slog.New(slog.NewJSONHandler(&out, nil))}
	start := func() *Dev {
		t.Helper()
		d, err := StartDev(t.Context(), DevConfig{Config: config, Listen: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if err := start().Close(); err != nil {
		t.Fatal(err)
	}
	var log string
	for _, pattern := range []string{"free-*", "*/free-*"} {
		free, err := filepath.Glob(filepath.Join(config.Dir, auditDir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range free {
			log = filepath.Dir(name)
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if log == "" {
		t.Fatal("the log has no reserve")
	}
	if err := os.Mkdir(filepath.Join(log, "tmp-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := start()
	for deadline := time.Now().Add(time.Minute); len(out.about(t, reserveAlarm)) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("the alarm is not logged")
			break
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAuditStateLines(t *testing.T) {
	full := errors.New("no space left on device")
	for want, c := range map[string]struct {
		state segment.State
		level string
	}{
		reserveAlarm: {segment.State{Alarm: full, ReserveFree: 3, ReserveTarget: 16}, "WARN"},
		auditClosed:  {segment.State{Alarm: full, Closed: true}, "ERROR"},
		auditWell:    {segment.State{ReserveFree: 16, ReserveTarget: 16}, "INFO"},
	} {
		var out lines
		tellAuditState(slog.New(slog.NewJSONHandler(&out, nil)))(c.state)
		found := out.about(t, want)
		if len(found) != 1 || found[""]["level"] != c.level || (c.state.Alarm != nil) != (found[""]["error"] == full.Error()) ||
			found[""]["reserve_segments"] != float64(c.state.ReserveFree) {
			t.Errorf("%q: %v", want, found)
		}
	}
}
