package durability_test

import (
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/fulldisk"
	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// TestFullDisk fills the disk under a running node. Changes are refused as unavailable, reads go on, decisions are
// recorded until the audit log's reserve is used up and refused then; with space again all of it comes back by itself,
// and nothing that was acknowledged is gone.
func TestFullDisk(t *testing.T) {
	for name, mount := range map[string]func(testing.TB, int) *fulldisk.Disk{"ext4": fulldisk.Ext4, "tmpfs": fulldisk.Tmpfs} {
		t.Run(name, func(t *testing.T) {
			disk := mount(t, 16)
			n, err := openNode(disk.Dir, audit.Fsync)
			if err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if err := n.log.Start(ctx); err != nil {
				t.Fatal(err)
			}
			u := &user{t: t, node: n}
			for range 20 {
				u.must(u.change())
				u.must(u.decide())
			}

			u.must(disk.Fill())
			u.exhaust("changes", u.change)
			before := len(u.acked)
			u.exhaust("decisions", u.decide)
			if recorded := len(u.acked) - before; recorded < 10 {
				t.Errorf("only %d decisions were recorded on the full disk: the reserve does nothing", recorded)
			}
			u.must(n.store.View(ctx, func(tx store.Tx) error {
				_, err := tx.Object(ctx, vaultID, vault.Secret, "object")
				return err
			}))

			u.must(disk.Free())
			u.recover("changes", u.change)
			u.recover("decisions", u.decide)
			u.must(n.close())
			u.must(checkNode(disk.Dir, u.acked))
		})
	}
}

// user makes changes and decisions and remembers what was acknowledged.
type user struct {
	t     *testing.T
	node  *node
	acked []string
}

func (u *user) must(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

func (u *user) change() error {
	ctx, now := context.Background(), clock.Micro(time.Now())
	version := vault.NewVersionID(now)
	frame, err := auditFrame("object", version, now)
	u.must(err)
	err = u.node.store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		tx.Audit(frame)
		return put(ctx, tx, "object", version, now)
	})
	if err == nil {
		u.acked = append(u.acked, ackVersion+" "+string(version))
	}
	return err
}

func (u *user) decide() error {
	id := audit.NewID()
	err := u.node.log.Append(context.Background(), &audit.Record{ID: id, Action: "secrets/getSecret/action", Outcome: audit.Allowed})
	if err == nil {
		u.acked = append(u.acked, ackDecision+" "+id.String())
	}
	return err
}

// exhaust repeats what until it is refused, and wants the refusal to be fault.Unavailable.
func (u *user) exhaust(what string, do func() error) {
	u.t.Helper()
	for range 100_000 {
		if err := do(); err != nil {
			if !fault.Is(err, fault.Unavailable) {
				u.t.Errorf("%s on the full disk: %v, want an error of the kind unavailable", what, err)
			}
			return
		}
	}
	u.t.Errorf("%s were never refused on the full disk", what)
}

// recover waits until what works again.
func (u *user) recover(what string, do func() error) {
	u.t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = do(); err == nil {
			return
		}
	}
	u.t.Errorf("%s did not come back after there was space again: %v", what, err)
}
