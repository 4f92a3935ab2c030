package tdsfake_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"go.uber.org/goleak"

	"github.com/keywright/keywright/e2e/tdsfake"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// hard are the passwords that quoting gets wrong first.
const (
	appPassword   = `p;a"s's]w{o}rd=ä€`
	adminPassword = "admin-" + appPassword
)

func start(t *testing.T) *tdsfake.Server {
	t.Helper()
	s, err := tdsfake.Start(tdsfake.Config{Logins: map[string]tdsfake.Login{
		"app": {Password: appPassword}, "sa": {Password: adminPassword, Admin: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// dial is how an application of Go connects. extra are further parameters of the connection URL.
func dial(t *testing.T, s *tdsfake.Server, user, password string, extra ...string) *sql.DB {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, s.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	query := url.Values{"database": {"app"}, "encrypt": {"true"}, "certificate": {ca}, "dial timeout": {"5"}}
	for i := 0; i+1 < len(extra); i += 2 {
		query.Set(extra[i], extra[i+1])
	}
	dsn := url.URL{Scheme: "sqlserver", User: url.UserPassword(user, password), Host: s.Addr().String(), RawQuery: query.Encode()}
	db, err := sql.Open("sqlserver", dsn.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// number is that of an error of the server; 0 for any other.
func number(err error) int32 {
	var e mssql.Error
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

func TestGoDriverConnects(t *testing.T) {
	for _, encrypt := range []string{"true", "false", "strict"} {
		t.Run("encrypt "+encrypt, func(t *testing.T) {
			s := start(t)
			db := dial(t, s, "app", appPassword, "encrypt", encrypt)
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			var one int
			if err := db.QueryRowContext(t.Context(), "SELECT 1").Scan(&one); err != nil || one != 1 {
				t.Errorf("SELECT 1 gave %d, %v", one, err)
			}
		})
	}
}

func TestGoDriverRefusals(t *testing.T) {
	s := start(t)
	t.Run("wrong password", func(t *testing.T) {
		if err := dial(t, s, "app", "wrong").PingContext(t.Context()); number(err) != 18456 {
			t.Errorf("got %v, want error 18456", err)
		}
	})
	t.Run("unknown login", func(t *testing.T) {
		if err := dial(t, s, "ghost", appPassword).PingContext(t.Context()); number(err) != 18456 {
			t.Errorf("got %v, want error 18456", err)
		}
	})
	t.Run("untrusted certificate", func(t *testing.T) {
		other := start(t)
		db := dial(t, s, "app", appPassword, "certificate", writeCA(t, other))
		if err := db.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("unknown statements do not come back", func(t *testing.T) {
		_, err := dial(t, s, "app", appPassword).ExecContext(t.Context(), "CREATE LOGIN [x] WITH PASSWORD = N'canary'")
		if number(err) != 102 || strings.Contains(err.Error(), "canary") {
			t.Errorf("got %v", err)
		}
	})
}

func writeCA(t *testing.T, s *tdsfake.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, s.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGoDriverQueries(t *testing.T) {
	s := start(t)
	db := dial(t, s, "app", appPassword)
	long := strings.Repeat("ä", 4000)
	for _, c := range []struct {
		query string
		args  []any
		want  any
	}{
		{"SELECT 1", nil, int64(1)},
		{"SELECT 5000000000 AS big;", nil, int64(5000000000)},
		{"SELECT N'it''s' [quoted]]name]", nil, "it's"},
		{"SELECT @p1", []any{"text"}, "text"},
		{"SELECT @p1", []any{42}, int64(42)},
		{"SELECT @p1", []any{true}, int64(1)},
		{"SELECT @second", []any{sql.Named("first", "a"), sql.Named("second", long)}, long},
		{"SELECT SUSER_SNAME()", nil, "app"},
		{"SELECT @@VERSION", nil, "TDS protocol fake: not SQL Server"},
		{"set nocount on\nSELECT COUNT(*) AS n FROM sys.dm_exec_sessions WHERE login_name = @p1", []any{"app"}, int64(1)},
	} {
		name := c.query[:min(len(c.query), 40)]
		t.Run(name, func(t *testing.T) {
			var got any
			if err := db.QueryRowContext(t.Context(), c.query, c.args...).Scan(&got); err != nil || got != c.want {
				t.Errorf("got %v (%T), %v", got, got, err)
			}
		})
	}
	for _, c := range []struct {
		query string
		args  []any
		want  int32
	}{
		{"SELECT @p1", []any{long + "x"}, 8152},
		{"SELECT @p2", []any{1}, 102},
		{"SELECT @p1", []any{1.5}, 102},
		{"sp_who", nil, 2812},
		{"SELECT 'open", nil, 102},
	} {
		t.Run(fmt.Sprintf("%s fails", c.query), func(t *testing.T) {
			var got any
			if err := db.QueryRowContext(t.Context(), c.query, c.args...).Scan(&got); number(err) != c.want {
				t.Errorf("got %v, want error %d", err, c.want)
			}
		})
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("after the failures: %v", err)
	}
}

func TestGoDriverTakesLongTextInPackets(t *testing.T) {
	db := dial(t, start(t), "app", appPassword, "packet size", "512")
	want := strings.Repeat("0123456789", 399)
	var got string
	if err := db.QueryRowContext(t.Context(), "SELECT @p1", want).Scan(&got); err != nil || got != want {
		t.Errorf("%d units came back, %v", len(got), err)
	}
}

func quoteName(s string) string { return "[" + strings.ReplaceAll(s, "]", "]]") + "]" }
func quoteText(s string) string { return "N'" + strings.ReplaceAll(s, "'", "''") + "'" }

func TestAlterLogin(t *testing.T) {
	const changed = `n'e]w;"pass`
	own := "ALTER LOGIN [app] WITH PASSWORD = " + quoteText(changed)
	for _, c := range []struct {
		name, by, statement string
		want                int32
	}{
		{"an administrator may", "sa", own, 0},
		{"with a wrong old password not even an administrator", "sa", own + " OLD_PASSWORD = N'wrong'", 15151},
		{"one's own, with the old password", "app", own + " OLD_PASSWORD = " + quoteText(appPassword), 0},
		{"one's own, with a wrong old password", "app", own + " OLD_PASSWORD = N'wrong'", 15151},
		{"one's own, without the old password", "app", own, 15151},
		{"somebody else's", "app", "ALTER LOGIN [sa] WITH PASSWORD = N'x' OLD_PASSWORD = " + quoteText(adminPassword), 15151},
		{"an unknown login", "sa", "ALTER LOGIN " + quoteName("g]host") + " WITH PASSWORD = N'x'", 15151},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			password := map[string]string{"app": appPassword, "sa": adminPassword}[c.by]
			_, err := dial(t, s, c.by, password).ExecContext(t.Context(), c.statement)
			if number(err) != c.want || (c.want == 0 && err != nil) {
				t.Fatalf("got %v, want error %d", err, c.want)
			}
			works, refused := changed, appPassword
			if c.want != 0 {
				works, refused = appPassword, changed
			}
			if err := dial(t, s, "app", works).PingContext(t.Context()); err != nil {
				t.Errorf("the password that should work: %v", err)
			}
			if err := dial(t, s, "app", refused).PingContext(t.Context()); number(err) != 18456 {
				t.Errorf("the password that should be refused: %v", err)
			}
		})
	}
}

func TestOpenSessionsOutliveAChange(t *testing.T) {
	s := start(t)
	db := dial(t, s, "app", appPassword)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := s.Sessions("app"); got != 1 {
		t.Errorf("%d sessions, want 1", got)
	}
	if !s.SetPassword("app", "changed") || s.SetPassword("ghost", "changed") {
		t.Error("SetPassword is wrong about who exists")
	}
	if err := conn.PingContext(t.Context()); err != nil {
		t.Errorf("the open session: %v", err)
	}
	if second, err := db.Conn(t.Context()); number(err) != 18456 {
		t.Errorf("a new session with the old password: %v, %v", second, err)
	}
}

func TestTransactions(t *testing.T) {
	for _, c := range []struct {
		name   string
		finish func(*sql.Tx) error
		works  string
	}{
		{"commit keeps the change", (*sql.Tx).Commit, "changed"},
		{"rollback undoes it", (*sql.Tx).Rollback, appPassword},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			tx, err := dial(t, s, "sa", adminPassword).BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.ExecContext(t.Context(), "ALTER LOGIN [app] WITH PASSWORD = N'changed'"); err != nil {
				t.Fatal(err)
			}
			if err := dial(t, s, "app", appPassword).PingContext(t.Context()); err != nil {
				t.Errorf("before the end: %v", err)
			}
			if err := c.finish(tx); err != nil {
				t.Fatal(err)
			}
			if err := dial(t, s, "app", c.works).PingContext(t.Context()); err != nil {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func TestGoDriverCancels(t *testing.T) {
	db := dial(t, start(t), "app", appPassword)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := db.ExecContext(ctx, "WAITFOR DELAY '00:00:30'")
	if err == nil || time.Since(begin) > 25*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestConfigRefused(t *testing.T) {
	if s, err := tdsfake.Start(tdsfake.Config{}); err == nil {
		s.Close()
		t.Error("a server without logins started")
	}
	some := map[string]tdsfake.Login{"app": {}}
	if s, err := tdsfake.Start(tdsfake.Config{Listen: "0.0.0.0:0", Logins: some}); err == nil {
		s.Close()
		t.Error("the fake listens beyond loopback")
	}
}
