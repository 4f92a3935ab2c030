package server

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestWatchedMetricsAreExported compares every metric that dashboard, alert rules and runbooks name with those of a server. Histograms have three names beyond
// their own; "up" and job labels are Prometheus's.
func TestWatchedMetricsAreExported(t *testing.T) {
	h := newHouse(t).start()
	descriptions := make(chan *prometheus.Desc)
	go func() {
		h.core.metrics.registry.Describe(descriptions)
		close(descriptions)
	}()
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	var exported []string
	for d := range descriptions {
		exported = append(exported, name.FindStringSubmatch(d.String())[1])
	}
	if len(exported) < 60 {
		t.Fatalf("a server describes %d metrics only", len(exported))
	}
	has := func(metric string) bool {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(metric, suffix); ok && slices.Contains(exported, base) {
				return true
			}
		}
		return false
	}
	named := regexp.MustCompile(`\b(?:keywright|go|process)_[a-z0-9_]+`)
	for _, path := range []string{"../../deploy/monitoring/dashboard.json", "../../deploy/monitoring/alerts.yaml", "../../docs/operations/runbooks.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := named.FindAllString(string(text), -1)
		if len(found) < 10 {
			t.Errorf("%s names %d metrics only", path, len(found))
		}
		for _, metric := range found {
			if !has(metric) {
				t.Errorf("%s names %s, which no server exports", path, metric)
			}
		}
	}
}
