package mariadbtest_test

import (
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/keywright/keywright/e2e/mariadbtest"
)

func TestServer(t *testing.T) {
	s := mariadbtest.Run(t, mariadbtest.Config{})
	if err := s.Exec(t.Context(), "CREATE USER app@'%' IDENTIFIED BY 'right'"); err != nil {
		t.Fatal(err)
	}
	if who, err := login(t, s, "app", "right"); err != nil || who != "app@%" {
		t.Errorf("logged in as %q, %v", who, err)
	}
	for name, password := range map[string]string{"app": "wrong", mariadbtest.Superuser: "", "nobody": "x"} {
		_, err := login(t, s, name, password)
		// ER_ACCESS_DENIED_ERROR, https://mariadb.com/kb/en/e1045/
		var refused *mysql.MySQLError
		if !errors.As(err, &refused) || refused.Number != 1045 {
			t.Errorf("%s: %v, want error 1045", name, err)
		}
	}
	log, err := s.Log()
	if err != nil || !strings.Contains(log, "CREATE USER app") {
		t.Errorf("the log does not show what was sent: %v", err)
	}

	s.Kill()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := login(t, s, "app", "right"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := login(t, s, "app", "right"); err == nil {
		t.Error("a stopped server answers")
	}
	if err := s.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

func login(t *testing.T, s *mariadbtest.Server, user, password string) (who string, err error) {
	t.Helper()
	connector, err := mysql.NewConnector(s.Config(user, password))
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	err = db.QueryRowContext(t.Context(), "SELECT CURRENT_USER()").Scan(&who)
	return who, err
}
