package powerloss_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/keywright/keywright/e2e/powerloss"
	"github.com/keywright/keywright/e2e/workload"
)

// The database workload: transactions of rowsPerTx rows each, a checkpoint every 50 pages so that both the database file
// and the log are being written, and an acknowledgement of the transaction's number after each commit.
const (
	transactions = 200
	rowsPerTx    = 3
)

// sqliteWorkload's variant is the synchronous setting.
func sqliteWorkload(run *workload.Run) error {
	db, err := openDatabase(run.Dir, "rwc", run.Variant)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE part (tx INTEGER, n INTEGER, body TEXT, PRIMARY KEY (tx, n))`); err != nil {
		return err
	}
	for tx := range transactions {
		if err := insert(db, tx); err != nil {
			return err
		}
		if err := run.Ack("%d", tx); err != nil {
			return err
		}
	}
	return nil
}

// openDatabase opens the database of a directory with one connection.
func openDatabase(dir, mode, synchronous string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "parts.db")+"?mode="+mode+
		"&_pragma=journal_mode(WAL)&_pragma=wal_autocheckpoint(50)&_pragma=synchronous("+synchronous+")")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

func insert(db *sql.DB, tx int) error {
	t, err := db.Begin()
	if err != nil {
		return err
	}
	for n := range rowsPerTx {
		body := strings.Repeat(strconv.Itoa(tx)+".", 40)
		if _, err := t.Exec(`INSERT INTO part VALUES (?, ?, ?)`, tx, n, body); err != nil {
			return errors.Join(err, t.Rollback())
		}
	}
	return t.Commit()
}

// checkDatabase wants an intact database, every acknowledged transaction and none in part.
func checkDatabase(dir string, acked []powerloss.Ack) error {
	if _, err := os.Stat(filepath.Join(dir, "parts.db")); errors.Is(err, os.ErrNotExist) {
		return missing(acked, nil)
	}
	db, err := openDatabase(dir, "rw", "OFF")
	if err != nil {
		return err
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil {
		return fmt.Errorf("checking integrity: %w", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("integrity check: %s", verdict)
	}
	present, err := wholeTransactions(db)
	if err != nil {
		return err
	}
	return missing(acked, present)
}

// wholeTransactions returns the transactions that are there. A database that was never acknowledged may have no table.
func wholeTransactions(db *sql.DB) (map[string]bool, error) {
	var tables int
	if err := db.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name = 'part'`).Scan(&tables); err != nil || tables == 0 {
		return nil, err
	}
	rows, err := db.Query(`SELECT tx, count(*) FROM part GROUP BY tx`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	present := map[string]bool{}
	for rows.Next() {
		var tx, n int
		if err := rows.Scan(&tx, &n); err != nil {
			return nil, err
		}
		if n != rowsPerTx {
			return nil, fmt.Errorf("transaction %d has %d of %d rows: %w", tx, n, rowsPerTx, powerloss.ErrHalf)
		}
		present[strconv.Itoa(tx)] = true
	}
	return present, rows.Err()
}

// missing reports the first acknowledgement that is not present.
func missing(acked []powerloss.Ack, present map[string]bool) error {
	for _, ack := range acked {
		if !present[ack.Text] {
			return fmt.Errorf("%s of %d: %w", ack.Text, len(acked), powerloss.ErrLost)
		}
	}
	return nil
}

func TestDatabaseWithFullSyncLosesNothing(t *testing.T) {
	log := powerloss.Record(t, "sqlite", "FULL", powerloss.Config{})
	campaign(t, log, powerloss.States(t, 2000), checkDatabase).RequireSound(t, log)
}

// TestBrokenDatabaseIsCaught is the control: with less than FULL, SQLite answers before the data is safe. Three of four
// states show it; of 60, which the race detector allows, fewer than a quarter never will.
func TestBrokenDatabaseIsCaught(t *testing.T) {
	for _, synchronous := range []string{"OFF", "NORMAL"} {
		t.Run(synchronous, func(t *testing.T) {
			log := powerloss.Record(t, "sqlite", synchronous, powerloss.Config{})
			campaign(t, log, max(60, powerloss.Sample(300)), checkDatabase).RequireCaught(t, 0.25)
		})
	}
}

// campaign checks states of the log with the run's seed.
func campaign(t *testing.T, log *powerloss.Log, states int, check powerloss.Check) powerloss.Result {
	t.Helper()
	return powerloss.Campaign{Log: log, Seed: powerloss.Seed(t), States: states, Check: check}.Run(t)
}
