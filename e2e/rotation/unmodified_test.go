package rotation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/jackc/pgx/v5"
)

// appEnv makes the test program the Go member of the applications of TestEvidence. See testdata/app.py, which does the same.
const appEnv = "KEYWRIGHT_ROTATION_APP"

// applicationMain is an application that knows nothing of Keywright. It ends by a signal.
func applicationMain() error {
	ctx := context.Background()
	poll, err := strconv.ParseFloat(os.Getenv("POLL"), 64)
	if err != nil {
		return err
	}
	credential, err := azidentity.NewEnvironmentCredential(nil)
	if err != nil {
		return err
	}
	client, err := azsecrets.NewClient(os.Getenv("VAULT_URL"), credential, nil)
	if err != nil {
		return err
	}
	var logins []*appLogin
	for _, name := range strings.Split(os.Getenv("SECRETS"), ",") {
		l := &appLogin{client: client, name: name, poll: time.Duration(poll * float64(time.Second)), sparse: os.Getenv("SPARSE") == "1"}
		if err := l.read(ctx); err != nil {
			return err
		}
		logins = append(logins, l)
	}
	for {
		for _, l := range logins {
			if err := l.work(ctx); err != nil {
				fmt.Println("failed", l.name, strings.ReplaceAll(err.Error(), "\n", " "))
				l.leave(ctx)
			}
		}
		fmt.Println("worked")
		time.Sleep(250 * time.Millisecond)
	}
}

// appLogin is one secret, and the session that is signed in with it.
type appLogin struct {
	client *azsecrets.Client
	name   string
	poll   time.Duration
	sparse bool

	version        string
	value          struct{ Username, Password string }
	session        *pgx.Conn
	since, refresh time.Time
}

func (l *appLogin) read(ctx context.Context) error {
	l.refresh = time.Now()
	got, err := l.client.GetSecret(ctx, l.name, "", nil)
	if err != nil || got.ID.Version() == l.version {
		return err
	}
	if err := json.Unmarshal([]byte(*got.Value), &l.value); err != nil {
		return err
	}
	if l.signIn(ctx) {
		l.version = got.ID.Version()
		fmt.Println("holds", l.name, l.version)
	}
	return nil
}

// signIn puts a new session in the place of the one before, which stays when it is refused.
func (l *appLogin) signIn(ctx context.Context) bool {
	l.since = time.Now()
	config, err := pgx.ParseConfig("")
	if err == nil {
		config.User, config.Password = l.value.Username, l.value.Password
		var fresh *pgx.Conn
		if fresh, err = pgx.ConnectConfig(ctx, config); err == nil {
			l.leave(ctx)
			l.session = fresh
			return true
		}
	}
	fmt.Println("refused", l.name, strings.ReplaceAll(err.Error(), "\n", " "))
	return false
}

func (l *appLogin) leave(ctx context.Context) {
	if l.session != nil {
		_ = l.session.Close(ctx)
	}
	l.session = nil
}

func (l *appLogin) work(ctx context.Context) error {
	if l.poll > 0 && time.Since(l.refresh) > l.poll {
		if err := l.read(ctx); err != nil {
			return err
		}
	}
	switch {
	case l.sparse && time.Now().UnixMilli()%4000 > 2000:
		l.leave(ctx)
	case l.session == nil || time.Since(l.since) > time.Second:
		l.signIn(ctx)
	}
	if l.session == nil {
		return nil
	}
	_, err := l.session.Exec(ctx, "SELECT 1")
	return err
}
