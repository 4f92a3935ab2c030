package server

import (
	"context"
	"os"
	"strings"

	"github.com/keywright/keywright/internal/consumer"
	"github.com/keywright/keywright/internal/ledger"
)

// bootFile names the running of the machine (random(4)). A process that comes after another in the same one finds all that was left to the operating system.
const bootFile = "/proc/sys/kernel/random/boot_id"

// boot identifies the running of the machine; "" when that is not known.
func boot() string {
	id, err := os.ReadFile(bootFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// openLedger begins to follow the audit log, and makes the service that speaks for the ledger. The ledger ends before the log.
func (k *core) openLedger(c *Config) (err error) {
	ctx := context.Background()
	config := ledger.Config{Store: k.store, Log: k.audit.log, Node: k.audit.node, Durability: c.Durability, Boot: boot(), Clock: c.Clock, Logger: c.Logger}
	if k.shared {
		config.Reader, config.Process = k.reader, k.nodes.Process()
	}
	if k.ledger, err = ledger.New(ctx, config); err != nil {
		return err
	}
	if k.shared {
		k.onClose(wrapStop(k.store.Watch(k.ledger.Changed)))
	}
	if whole := k.ledger.Whole(); !whole.IsZero() {
		c.Logger.Warn("records of deliveries may have been lost with the power; open revocations count their grace from then", "since", whole)
	}
	k.onClose(func() error { k.ledger.Stop(); return nil })
	if err := k.ledger.Start(ctx); err != nil {
		return err
	}
	k.consumers, err = consumer.New(consumer.Config{Guard: k.guard, Store: k.store, Ledger: k.ledger, Policy: k.consumerPolicy})
	return err
}

// ledgerLag tells how far the ledger is behind the audit log, for metrics.
func (k *core) ledgerLag() (records, seconds float64) {
	n, behind := k.ledger.Lag()
	return float64(n), behind.Seconds()
}

// forgetHoldings removes from the ledger what is over and old.
func (k *core) forgetHoldings(ctx context.Context) error {
	n, err := k.ledger.Forget(ctx)
	if n > 0 {
		k.log.InfoContext(ctx, "the ledger forgot who held what is no more", "rows", n)
	}
	return err
}
