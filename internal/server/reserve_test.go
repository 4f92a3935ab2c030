package server

import "testing"

func TestDevelopmentKeepsASmallReserve(t *testing.T) {
	d, err := StartDev(t.Context(), DevConfig{Config: Config{Dir: t.TempDir()}, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.core.audit.log.State().ReserveTarget; got != 1 {
		t.Errorf("the reserve has %d segments, want 1 of 64 MiB", got)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	production := Config{Dir: t.TempDir()}
	if err := production.complete(); err != nil || production.AuditReserveBytes != 0 {
		t.Errorf("production's reserve is %d instead of the log's own default, %v", production.AuditReserveBytes, err)
	}
}
