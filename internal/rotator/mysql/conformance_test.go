package mysql_test

import (
	"flag"
	"testing"

	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// The suite's late requests mostly wait: one for each processor at a time would take minutes.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	m.Run()
}

func TestMariaDB(t *testing.T) {
	w := mariadb(t)
	s := w.subject()
	s.LockOut = w.lockOut
	rotatortest.Run(t, s)
}

func TestMySQL(t *testing.T) {
	w := mysqlServer(t)
	s := w.subject()
	s.LockOut = w.lockOutMySQL
	rotatortest.Run(t, s)
}
