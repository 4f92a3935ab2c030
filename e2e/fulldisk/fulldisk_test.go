package fulldisk_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/keywright/keywright/e2e/fulldisk"
	"github.com/keywright/keywright/e2e/machine"
)

func TestMain(m *testing.M) {
	machine.Private()
	os.Exit(m.Run())
}

// TestFillAndFree tells what a full disk does to a database and to a file on either file system: writes fail and say
// so, reads go on, what was allocated can be overwritten, and with space again everything goes on without reopening.
func TestFillAndFree(t *testing.T) {
	for name, mount := range map[string]func(testing.TB, int) *fulldisk.Disk{"ext4": fulldisk.Ext4, "tmpfs": fulldisk.Tmpfs} {
		t.Run(name, func(t *testing.T) {
			disk := mount(t, 16)
			file, err := os.Create(filepath.Join(disk.Dir, "file"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			block := make([]byte, 4096)
			must(t, write(file, block, 0), file.Sync())
			db := open(t, disk.Dir)

			must(t, disk.Fill())
			if err := write(file, block, 4096); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("a new block on the full disk: %v, want ENOSPC", err)
			}
			must(t, write(file, block, 0), file.Sync())
			rows := insertUntilFull(t, db)
			if got := count(t, db); got != rows {
				t.Errorf("reading on the full disk: %d rows of %d", got, rows)
			}

			must(t, disk.Free(), write(file, block, 4096), file.Sync())
			if _, err := db.Exec(`INSERT INTO t VALUES (zeroblob(10000))`); err != nil {
				t.Errorf("inserting after there was space again: %v", err)
			}
			if got := count(t, db); got != rows+1 {
				t.Errorf("%d rows, want %d", got, rows+1)
			}
		})
	}
}

func open(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { must(t, db.Close()) })
	if _, err := db.Exec(`CREATE TABLE t (b BLOB)`); err != nil {
		t.Fatal(err)
	}
	return db
}

// insertUntilFull returns how many rows were acknowledged before the disk was full.
func insertUntilFull(t *testing.T, db *sql.DB) int {
	t.Helper()
	for rows := range 10000 {
		_, err := db.Exec(`INSERT INTO t VALUES (zeroblob(10000))`)
		if err != nil {
			if !strings.Contains(err.Error(), "(13)") {
				t.Errorf("inserting on the full disk: %v, want SQLITE_FULL (13)", err)
			}
			return rows
		}
	}
	t.Fatal("the disk never filled up")
	return 0
}

func count(t *testing.T, db *sql.DB) int {
	t.Helper()
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM t`).Scan(&n); err != nil {
		t.Errorf("reading: %v", err)
	}
	return n
}

func write(file *os.File, data []byte, off int64) error {
	_, err := file.WriteAt(data, off)
	return err
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
