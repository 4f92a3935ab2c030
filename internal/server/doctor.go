package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/token/pkcs11"
)

// Finding is one thing that the doctor looked at.
type Finding struct {
	// Check says what was looked at, in a word or two.
	Check string `json:"check"`
	// Status is ok, warn (the server starts, and somebody should look at it) or fail (it does not start, or does not serve).
	Status string `json:"status"`
	// What says what was found, Do what to do about it.
	What string `json:"what"`
	Do   string `json:"do,omitempty"`
}

// The words of Finding.Status.
const (
	FindingOK   = "ok"
	FindingWarn = "warn"
	FindingFail = "fail"
)

// doctor gathers findings.
type doctor struct {
	file     *config.File
	config   Config
	findings []Finding
}

func (d *doctor) ok(check, what string, args ...any) {
	d.findings = append(d.findings, Finding{check, FindingOK, fmt.Sprintf(what, args...), ""})
}

func (d *doctor) warn(check, do, what string, args ...any) {
	d.findings = append(d.findings, Finding{check, FindingWarn, fmt.Sprintf(what, args...), do})
}

func (d *doctor) fail(check, do, what string, args ...any) {
	d.findings = append(d.findings, Finding{check, FindingFail, fmt.Sprintf(what, args...), do})
}

// Examine looks at everything that a server with this configuration needs: before init, before a start, and while the server runs, whom it does not disturb. It
// changes nothing but for a file in the directory that it removes again. A mistake in the configuration ends it.
func Examine(ctx context.Context, path string) []Finding {
	d := &doctor{}
	f, err := config.Load(path)
	var mistakes *config.Problems
	switch {
	case errors.As(err, &mistakes):
		for _, m := range mistakes.List {
			d.fail("configuration", "correct the file", "%s", m.In(path))
		}
		return d.findings
	case err != nil:
		d.fail("configuration", "name a file that this user can read", "%s", err)
		return d.findings
	}
	d.ok("configuration", "%s has no mistake", path)
	d.file = f
	if d.config, err = FromFile(f); err != nil {
		d.fail("secret files", "correct the file that is named", "%s", err)
		return d.findings
	}
	d.config.Clock = clock.System{}
	d.user()
	made := d.directory()
	d.disk(made)
	d.clock()
	d.certificates()
	d.ports(ctx)
	d.store(ctx)
	d.token()
	d.memory()
	d.limits()
	return d.findings
}

// Failed reports whether one of the findings keeps a server from starting or serving.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Status == FindingFail {
			return true
		}
	}
	return false
}

func (d *doctor) user() {
	if os.Geteuid() == 0 {
		d.warn("user", "run the server, and this command, as a user of its own", "this is the superuser, from whom nothing on the machine is safe")
		return
	}
	d.ok("user", "user %d", os.Geteuid())
}

// directory returns the directory, or the nearest one above it that exists.
func (d *doctor) directory() string {
	const check = "directory"
	dir := d.config.Dir
	err := checkDir(dir)
	switch {
	case fault.As(err) != nil && fault.As(err).Reason == NotInitialised:
		d.warn(check, "run keywright init with this configuration", "%s does not exist yet", dir)
		for dir = filepath.Dir(dir); dir != "/"; dir = filepath.Dir(dir) {
			if _, err := os.Stat(dir); err == nil {
				break
			}
		}
		return dir
	case err != nil:
		d.fail(check, "see what is said", "%s", err)
		return dir
	}
	foreign := ""
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if info, ierr := infoOf(e); err != nil || ierr == nil && !ownedByUs(info) {
			foreign = path
			return filepath.SkipAll
		}
		return nil
	})
	if foreign != "" {
		d.fail(check, fmt.Sprintf("run chown -R %d %s, and use one user for every command on it", os.Geteuid(), dir), "%s belongs to another user, or cannot be read", foreign)
		return dir
	}
	d.ok(check, "%s belongs to this user alone", dir)
	return dir
}

// looked is what the doctor finds in a store of either engine.
type looked struct {
	initialised bool
	// opens is the error of the seal on the root key.
	opens error
}

// store looks into the store and tries the seal on it.
func (d *doctor) store(ctx context.Context) {
	s, end, missing := d.seal()
	if end != nil {
		defer end()
	}
	var l looked
	look := func(tx store.Tx) error {
		_, err := tx.Setting(ctx, installationSetting)
		if l.initialised = err == nil; err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		if s != nil {
			l.opens = keyring.Probe(ctx, tx, s)
		}
		return nil
	}
	read := d.sqlite
	if d.config.Store.DSNFile != "" {
		read = d.postgres
	}
	whole := read(ctx, look, &l)
	switch {
	case missing != "" && l.initialised:
		d.fail("seal", "restore the file from its copy: nothing in the store opens without it", "the key file %s is missing", missing)
	case missing != "":
		d.warn("seal", "run keywright init with this configuration", "the key file %s does not exist yet", missing)
	case s == nil || !whole:
	case fault.As(l.opens) != nil && fault.As(l.opens).Reason == seal.Sealed:
		d.ok("seal", "people open the root key with shares when the server starts: keywright seal unseal; whether they still have enough of them is not seen here")
	case l.opens != nil:
		d.fail("seal", "see what is said; a lost key can only come from its copy", "it does not open the root key: %s", l.opens)
	default:
		d.ok("seal", "%s opens the root key", s.Name())
	}
}

// sqlite reports whether there is a store that could be looked into.
func (d *doctor) sqlite(ctx context.Context, look func(store.Tx) error, l *looked) bool {
	i, err := sqlite.Inspect(ctx, filepath.Join(d.config.Dir, storeDir), look)
	if !d.schema(err, i.Schema, i.Known, i.Schema > i.Known, l) {
		return false
	}
	if ahead := time.Until(i.Newest); ahead > time.Second {
		d.fail("clock", "set the clock; rotations by schedule pause until somebody has looked", "the newest change in the store is %s ahead of the clock: the clock went back", ahead.Round(time.Second))
	}
	return true
}

// oneLine is an error as a cell of a table: drivers tell of each address that they tried on a line of its own, and twice of one that they tried twice.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

// maxSkew is how far the clocks of a node and of the database may be apart before tokens and leases suffer.
const maxSkew = time.Second

// postgres is sqlite for the other engine.
func (d *doctor) postgres(ctx context.Context, look func(store.Tx) error, l *looked) bool {
	database, err := d.config.Store.database(&d.config)
	if err != nil {
		d.fail("store", "correct the file", "%s", err)
		return false
	}
	i, err := postgres.Inspect(ctx, database, look)
	if (i.Skew.Abs() - i.Within) > maxSkew {
		d.fail("clock", "let NTP keep both machines", "it is %s apart from the database's", i.Skew.Abs().Round(time.Millisecond))
	}
	return d.schema(err, i.Schema, i.Known, i.Needs > i.Known, l)
}

// schema tells what is wrong with a store, and reports whether it is as this release needs it.
func (d *doctor) schema(err error, has, known int, newer bool, l *looked) bool {
	const check, initialise = "store", "run keywright init with this configuration"
	switch {
	case fault.Is(err, fault.NotFound):
		d.warn(check, initialise, "there is none yet")
	case err != nil && d.config.Store.DSNFile != "":
		d.fail(check, "see what is said; nothing is lost by it", "it cannot be read: %s", oneLine(err))
	case err != nil:
		d.fail(check, "check the disk; restore a backup if it is damaged", "it cannot be read: %s", err)
	case newer:
		d.fail(check, "start the newer release, or restore a backup", "it was written by a newer release (schema %d, this one knows %d)", has, known)
	case has < known:
		d.warn(check, "back up before the next start, which brings it to the new schema", "it has schema %d, this release brings it to %d", has, known)
	case !l.initialised:
		d.warn(check, initialise, "it is not initialised")
	default:
		d.ok(check, "it can be read and has schema %d", has)
		return true
	}
	return false
}

// token looks whether the PKCS#11 token of -HSM keys opens.
func (d *doctor) token() {
	if d.file.Token == nil {
		return
	}
	t, err := pkcs11.Open(d.config.Token)
	if err != nil {
		d.fail("token", "check the module, the label and the PIN", "the token %q does not open: %s", d.config.Token.Token, err)
		return
	}
	info := t.Info()
	d.ok("token", "%s of %s opens", info.Label, info.Manufacturer)
	if err := t.Close(); err != nil {
		d.warn("token", "look at the token's own log", "it did not close: %s", err)
	}
}
