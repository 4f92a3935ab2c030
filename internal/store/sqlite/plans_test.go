package sqlite

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/store"
)

// What is asked again and again in the background must be a search of an index, however much the store holds.
func TestBackgroundQueriesSearch(t *testing.T) {
	c, err := newConn(filepath.Join(t.TempDir(), "plans.db"), 1024)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := migrate(c); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"SELECT 1 FROM versions v CROSS JOIN objects o ON o.id = v.object WHERE " + untold[store.NearExpiry] +
			" AND v.expires >= 1 AND v.expires <= 2 AND (v.expires > 1 OR v.id > 'x') AND o.current = v.id ORDER BY v.expires, v.id LIMIT 1": "versions_near",
		"SELECT 1 FROM versions v CROSS JOIN objects o ON o.id = v.object WHERE " + untold[store.Expired] +
			" AND v.expires >= 1 AND v.expires <= 2 AND (v.expires > 1 OR v.id > 'x') AND o.current = v.id ORDER BY v.expires, v.id LIMIT 1": "versions_expired",
		deliveryColumns + "WHERE subscription = 'x' AND head = 1 AND next_at <= 5 ORDER BY next_at, seq LIMIT 1":                                "deliveries_due",
		"SELECT min(seq) FROM deliveries WHERE subscription = 'x' AND subject = 'y' AND dead = 0":                                               "deliveries_subject",
		issuanceColumns + "WHERE authority = 'x' AND revoked IS NOT NULL AND (not_after, serial) > (1, 'x') ORDER BY not_after, serial LIMIT 5": "issuances_revoked",
		endpointColumns + " WHERE next_at <= 5 ORDER BY next_at, id LIMIT 5":                                                                    "endpoints_due",
		endpointColumns + " WHERE vault = 'x' AND certificate = 'y' ORDER BY id LIMIT 5":                                                        "endpoints_vault",
		strings.ReplaceAll(endedIssuances, "?", "5"):                                                                                            "issuances_end",
		"SELECT rowid FROM enrolments WHERE expires <= 5 ORDER BY expires LIMIT 5":                                                              "enrolments_expires",
	} {
		plan := ""
		if err := c.query("EXPLAIN QUERY PLAN "+query, nil, func(r row) error {
			plan += r.text(3) + "\n"
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(plan, "USING INDEX "+want) && !strings.Contains(plan, "USING COVERING INDEX "+want) || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s\nis planned as\n%s\nwant a search of %s", query, plan, want)
		}
	}
}
