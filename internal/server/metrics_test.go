package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// scrape reads the metrics as Prometheus does.
func (d *Dev) scrape(t *testing.T) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.variable("KEYWRIGHT_METRICS_URL"), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status, err)
	}
	return string(b)
}

// own keeps the product's metrics: the runtime's are not ours to name.
func own(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "keywright_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestMetricsTellWhatHappened(t *testing.T) {
	d := startDev(t, t.TempDir())
	azure := d.azure(t)
	const canary = "canary7f3a"
	azure.do("PUT", "/secrets/"+canary+"?api-version=7.6", `{"value":"`+canary+`"}`, "User-Agent", canary, "X-Ms-Client-Request-Id", canary)
	for range 3 {
		azure.do("GET", "/secrets/"+canary+"?api-version=7.6", "", "X-Keywright-Instance", canary)
	}
	azure.do("GET", "/secrets/none?api-version=7.6", "") // it is not in memory either
	azure.do("GET", "/"+canary+"?api-version="+canary, "")
	stranger := *azure
	stranger.bearer = "Bearer " + canary
	stranger.do("GET", "/secrets/"+canary+"?api-version=7.6", "")
	if _, err := d.core.audit.sequencer.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.core.metrics.job("test", nil, d.core.clock.Now())

	text := own(d.scrape(t))
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if strings.Contains(text, canary) {
		t.Error("a metric tells what a caller chose")
	}
	for _, want := range []string{
		`keywright_request_duration_seconds_count{door="azure",operation="SecretGet",status="200"} 3`,
		`keywright_tokens_issued_total{flow="client-secret"} `,
		`keywright_denied_requests_total{reason="`,
		"keywright_secret_cache_hits_total 3\n", "keywright_secret_cache_misses_total 1\n", "keywright_secret_cache_secrets 1\n",
		"keywright_audit_alarm 0\n", "keywright_audit_writable 1\n", "keywright_audit_reserve_target_segments 1\n",
		"keywright_audit_sequencer_lag_commits 0\n", "keywright_keyring_locked 0\n", "keywright_store_healthy 1\n",
		`keywright_build_info{goversion="go`, `keywright_job_runs_total{job="test",result="done"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	d.core.keys.Lock()
	if !strings.Contains(d.scrape(t), "keywright_keyring_locked 1\n") {
		t.Error("the keyring is locked and the metrics do not tell")
	}
}
