package nodes_test

import (
	"net/http"
	"time"

	"github.com/keywright/keywright/client/api"
)

// status is what a node says to one read; 0 when it says nothing.
func (n *node) status(token, name string) answer {
	a, err := n.get(n.c.Context(), token, name)
	if err != nil {
		n.c.Logf("%s: %v", n.address, err)
	}
	return a
}

// cutOff cuts a node off from the database. It refuses everything, and says when to try again, until the link is mended; in a vault that may be read
// seconds behind it goes on for that long with what it remembers, and with nothing else.
func cutOff(c *cluster) {
	t := c.T
	whole, cut := c.nodes[0], c.nodes[1]
	ctx := t.Context()
	token := whole.admin(c.vaultResource())
	must(t, whole.set(ctx, token, "known", "value"))
	must(t, whole.set(ctx, token, "unread", "value"))
	warm := func() {
		t.Helper()
		eventually(t, time.Minute, "both nodes serve", func() bool {
			return whole.status(token, "known").status == http.StatusOK && cut.status(token, "known").status == http.StatusOK
		})
	}
	warm()
	cut.link.sever()
	time.Sleep(bound + 200*time.Millisecond)
	if a := cut.status(token, "known"); a.status != http.StatusServiceUnavailable || !a.retry {
		t.Errorf("the node that is cut off answers %d (%s), told when to retry: %v", a.status, a.code, a.retry)
	}
	eventually(t, time.Minute, "the other node answers", func() bool { return whole.status(token, "known").status == http.StatusOK })
	cut.link.mend()
	warm()

	// Longer than the change of a grant can take beside a node that was cut off in the midst of a commit, whose locks last for seconds.
	const stale = 20 * time.Second
	_, err := whole.api().UpdateVault(ctx, "demo", api.UpdateVault{StaleFor: stale.String()})
	must(t, err)
	time.Sleep(bound) // until it is known everywhere
	warm()
	withdrawn := c.newReader("withdrawn")
	c.readable(withdrawn.token, "known")
	began := time.Now()
	cut.link.sever()
	must(t, whole.api().DeleteGrant(ctx, withdrawn.grant, withdrawn.scope))
	time.Sleep(time.Until(began.Add(bound + 300*time.Millisecond)))
	for what, a := range map[string]answer{"a read": cut.status(token, "known"), "a read by whom it was withdrawn from": cut.status(withdrawn.token, "known")} {
		if a.status != http.StatusOK || a.value != "value" {
			t.Errorf("%s from memory: %d (%s) %s after the cut", what, a.status, a.code, time.Since(began))
		}
	}
	if a, err := cut.do(ctx, token, http.MethodDelete, "/secrets/known", ""); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("a write on the node that is cut off: %d (%s), %v", a.status, a.code, err)
	}
	time.Sleep(time.Until(began.Add(stale + 300*time.Millisecond)))
	for what, a := range map[string]answer{"a read": cut.status(token, "known"), "a read by whom it was withdrawn from": cut.status(withdrawn.token, "known")} {
		if a.status != http.StatusServiceUnavailable {
			t.Errorf("%s behind what the vault allows: %d (%s)", what, a.status, a.code)
		}
	}
	cut.link.mend()
	warm()
	eventually(t, time.Minute, "whom it was withdrawn from is refused", func() bool {
		a := cut.status(withdrawn.token, "known")
		if a.status == http.StatusOK {
			t.Errorf("after the cut, a read by whom it was withdrawn from: %d", a.status)
		}
		return a.status == http.StatusForbidden // a busy node may be behind again, and say so
	})
}
