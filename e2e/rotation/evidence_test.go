package rotation_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/npm"
	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/internal/cli"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
)

// The secrets of TestEvidence, by what ends their old versions: the evidence of ledger and target alone, or what the policy wants at the deadline.
const (
	byEvidence = "db-evidence"
	byHold     = "db-hold"
	byForce    = "db-force"
	byDisable  = "db-disable"
)

const (
	// connectionLife is longer than the sparse application is away, evidenceDeadline than any of the others takes to move on a busy machine.
	connectionLife   = 8 * time.Second
	evidenceDeadline = 25 * time.Second
	disabledFor      = 6 * time.Second
	// namedWithin is by when everybody who still signs in with the old credential has to be named, from the promotion.
	namedWithin = time.Minute
	// patience is how long one thing may take on a busy machine.
	patience = time.Minute
)

// hosts are where the applications of TestEvidence run, as server and database see them: one address each, but for the last two, which share one.
// Those that never poll read once, at their start, and keep the value. The sparse one signs in again and again, for two of every four seconds.
var hosts = []struct {
	kind       string
	host       int
	once, thin bool
}{
	{kind: "go", host: 1}, {kind: "go", host: 2}, {kind: "go", host: 3}, {kind: "javascript", host: 4}, {kind: "javascript", host: 5}, {kind: "python", host: 6},
	{kind: "javascript", host: 7, once: true}, {kind: "python", host: 8, once: true, thin: true}, {kind: "python", host: 9}, {kind: "go", host: 9, once: true},
}

func hostAddress(host int) string { return fmt.Sprintf("127.0.7.%d", host) }

// laggards are the instances behind which somebody reads once.
var laggards = []string{"@" + hostAddress(7), "@" + hostAddress(8), "@" + hostAddress(9)}

// consumers is how many the ledger can tell apart.
const consumers = 9

// TestEvidence changes four credentials under ten applications that use Azure's SDKs for Go, JavaScript and Python, and acknowledge nothing. Three of
// them read once at their start, and one of those shares its address with one that polls. While anybody signs in with an old credential it stays, but for
// what the policies want at their deadlines; who it is, is named; and what was done under consumers stands in the audit log with its reason.
func TestEvidence(t *testing.T) {
	t.Parallel()
	e := startEvidence(t)
	promoted := e.rotate()

	if !t.Run("the laggards are named within a minute", func(t *testing.T) { e.named(t, promoted) }) {
		return
	}
	t.Run("the deadline disables, then deletes", e.disables)
	t.Run("the deadline forces", e.forces)
	t.Run("the deadline holds", e.holds)
	t.Run("nothing goes under a live holder", func(t *testing.T) { e.goesLast(t, promoted) })
	for _, a := range e.apps {
		if !a.once && len(a.said("refused ", "failed ")) > 0 {
			t.Errorf("the application at %s moves by itself, and failed: %v", a.address, a.said("refused ", "failed "))
		}
	}
}

type evidence struct {
	t    *testing.T
	node *node
	apps []*app
	// first are the versions before the rotation, by secret, and runs the revocations that end them.
	first, runs map[string]string
}

func startEvidence(t *testing.T) *evidence {
	modules := npm.Modules(t, "../../docs/examples/change-over-node")
	if out, err := exec.Command(python, "-c", "import azure.identity, azure.keyvault.secrets, psycopg2").CombinedOutput(); err != nil {
		absent(t, "this needs Debian's packages (as root: apt-get install --no-install-recommends python3-azure python3-psycopg2): %v %s", err, out)
	}
	if err := netns.Available(false); err != nil {
		absent(t, "the applications need names of their own: %v", err)
	}
	pg := startPostgres(t)
	e := &evidence{t: t, node: &node{t: t, look: 250 * time.Millisecond, lease: leaseTTL}, first: map[string]string{}, runs: map[string]string{}}
	e.node.init()
	e.node.set("administrator", pg.admin)
	d := func(t time.Duration) rotation.Duration { return rotation.Duration(t) }
	deadline := func(then rotation.Then, grace time.Duration) rotation.Policy {
		return rotation.Policy{Grace: d(grace), Deadline: d(evidenceDeadline), Overdue: rotation.Overdue{Then: then}}
	}
	for name, timing := range map[string]rotation.Policy{
		byEvidence: {Grace: d(2 * connectionLife), Observation: d(time.Second), MaxConnectionLife: d(connectionLife)},
		byHold:     deadline(rotation.Hold, time.Second), byForce: deadline(rotation.Force, time.Second), byDisable: deadline(rotation.DisableThenDelete, disabledFor),
	} {
		p, first := pg.accounts(t, rotator.Alternating)
		p.Admin = &rotation.Reference{Name: "administrator"}
		p.Grace, p.Observation, p.MaxConnectionLife, p.Deadline, p.Overdue = timing.Grace, timing.Observation, timing.MaxConnectionLife, timing.Deadline, timing.Overdue
		e.node.protect(name, p, first)
	}
	e.launch(modules, pg.port)
	for _, a := range e.apps {
		for _, name := range []string{byEvidence, byHold, byForce, byDisable} {
			e.first[name] = a.holds(name, "")
		}
	}
	return e
}

// rotate changes all four credentials, and returns when the first was promoted and every application that polls has moved.
func (e *evidence) rotate() (promoted time.Time) {
	e.t.Helper()
	var group errgroup.Group
	var mu sync.Mutex
	for name := range e.first {
		group.Go(func() error {
			began := time.Now()
			r, err := e.node.vault.Rotate(e.t.Context(), name, api.StartRotation{Cause: "on-demand"})
			for ; err == nil && r.Open; time.Sleep(50 * time.Millisecond) {
				r, err = e.node.vault.Rotation(e.t.Context(), r.ID)
			}
			if err == nil && r.State != api.RunDone {
				err = fmt.Errorf("the rotation of %s ended as %s (%s)", name, r.State, r.Reason)
			}
			if err != nil {
				return err
			}
			open, err := e.node.open(e.t.Context(), name)
			if err == nil && (len(open) != 1 || open[0].Kind != api.RevocationRun) {
				err = fmt.Errorf("the version of %s before is not being revoked", name)
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			e.runs[name] = open[0].ID
			if promoted.IsZero() || began.Before(promoted) {
				promoted = began
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		e.t.Fatal(err)
	}
	for name, first := range e.first {
		for _, a := range e.apps {
			if !a.once {
				a.holds(name, first)
			}
		}
	}
	return promoted
}

// named requires that holders, run and `version revoke` name exactly those first who still sign in with the old credential, and say why, in words.
func (e *evidence) named(t *testing.T, promoted time.Time) {
	run := e.runs[byEvidence]
	var list []string
	await(t, namedWithin-time.Since(promoted), func() error {
		l := e.holders(t, byEvidence)
		list = nil
		for _, h := range l.Items {
			list = append(list, h.Instance)
		}
		if l.Total != consumers || !sameSet(list[:min(len(list), len(laggards))], laggards) {
			return fmt.Errorf("%d consumers hold the old version, in the order %q", l.Total, list)
		}
		for _, h := range l.Items {
			session := strings.Contains(h.Reason, "the target shows a session of it")
			moved := strings.Contains(h.Reason, "it read version "+l.Current) && strings.Contains(h.Reason, "several processes may stand behind its address")
			switch {
			case !slices.Contains(laggards, h.Instance) && (session || !moved && h.State != api.Away):
				return fmt.Errorf("%s moved, and is called %s: %s", h.Instance, h.State, h.Reason)
			case slices.Contains(laggards, h.Instance) && h.State != api.Live, h.Instance != laggards[1] && slices.Contains(laggards, h.Instance) && !session:
				return fmt.Errorf("%s still uses the old version, and is called %s: %s", h.Instance, h.State, h.Reason)
			}
		}
		return nil
	})
	t.Logf("named %v after the beginning of the rotation", time.Since(promoted).Round(time.Millisecond))

	await(t, namedWithin-time.Since(promoted), func() error { // it shows what the run saw when it looked last
		shown, _, code := e.keywright("rotation", "show", run)
		if got := instances(shown, "waits for"); code != 0 || !sameSet(got[:min(len(got), len(laggards))], laggards) {
			return fmt.Errorf("rotation show names %q first (%d):\n%s", got, code, shown)
		}
		return nil
	})
	_, said, code := e.keywright("version", "revoke", byEvidence, e.first[byEvidence], "--force", "--reason", "to see who breaks")
	head, _, _ := strings.Cut(said, "\n")
	if got := instances(said, ""); code != cli.ExitConflict || !sameSet(got[:min(len(got), len(laggards))], laggards) || !slices.Contains(laggards, atHost.FindString(head)) {
		t.Errorf("version revoke names %q first (%d):\n%s", got, code, said)
	}
	t.Logf("version revoke without --yes:\n%s", said)

	// A person who is wrong does not count for more than what the target shows.
	h := e.holders(t, byEvidence).Items
	at := slices.IndexFunc(h, func(h api.VersionHolder) bool { return h.Instance == laggards[0] })
	if _, said, code := e.keywright("version", "clear", byEvidence, e.first[byEvidence], "--principal", h[at].Principal, "--instance", laggards[0], "--reason", "I thought it was gone"); code != 0 {
		t.Errorf("clearing: %s", said)
	}
	await(t, patience, func() error {
		l := e.holders(t, byEvidence)
		at := slices.IndexFunc(l.Items, func(h api.VersionHolder) bool { return h.Instance == laggards[0] })
		if h := l.Items[at]; h.Cleared == nil || h.State != api.Live || !strings.Contains(h.Reason, "the target shows a session") {
			return fmt.Errorf("%s was cleared and is signed in all the same: %s, %s", h.Instance, h.State, h.Reason)
		}
		return nil
	})
	e.records(t, byEvidence, api.AuditRecord{Operation: ledger.ClearOperation, Detail: "I thought it was gone"})
}

// holds: at the deadline the run waits on, visibly, and the old credential is accepted, until a person says otherwise.
func (e *evidence) holds(t *testing.T) {
	r := e.reaches(t, byHold, "held", "DeadlineHolds")
	if early := r.Since.Sub(*r.Promoted); early < evidenceDeadline {
		t.Errorf("it was held %v after the promotion, before its deadline", early)
	}
	e.accepted(t, byHold)
	if r = e.run(t, byHold); r.State != "held" {
		t.Errorf("the run stands at %s (%s)", r.State, r.Reason)
	}
	reason := "the laggards of the shop had their chance"
	if out, said, code := e.keywright("version", "revoke", byHold, e.first[byHold], "--force", "--reason", reason, "--yes"); code != 0 {
		t.Fatalf("revoking: %s%s", out, said)
	}
	r = e.reaches(t, byHold, api.RunDone, "OldRejected")
	e.refused(t, byHold, step(t, r, "verifying", "ByOrder"))
	e.records(t, byHold, api.AuditRecord{Operation: "rotation.held", Reason: "DeadlineHolds", Detail: laggards[0]},
		api.AuditRecord{Principal: r.Actor, Reason: reason}, api.AuditRecord{Operation: "rotation.verifying", Reason: "ByOrder", Detail: laggards[0]})
}

// forces: at the deadline the old credential is refused, whoever is left.
func (e *evidence) forces(t *testing.T) {
	r := e.reaches(t, byForce, api.RunDone, "OldRejected")
	forced := step(t, r, "verifying", "DeadlineForces")
	if took := forced.Sub(*r.Promoted); took < evidenceDeadline || r.Forced == "" {
		t.Errorf("it was forced (%q) %v after the promotion, its deadline is %v", r.Forced, took, evidenceDeadline)
	}
	e.refused(t, byForce, forced)
	e.records(t, byForce, api.AuditRecord{Operation: "rotation.verifying", Reason: "DeadlineForces", Detail: laggards[0]})
}

// disables: at the deadline nobody can fetch the old version any more, and one grace later the target refuses it.
func (e *evidence) disables(t *testing.T) {
	e.reaches(t, byDisable, "held", "DeadlineDisables")
	if _, err := e.node.vault.GetVersion(t.Context(), byDisable, client.Selector{Version: e.first[byDisable]}); client.KindOf(err) != client.Forbidden {
		t.Errorf("the old version is read after it was disabled: %v", err)
	}
	r := e.reaches(t, byDisable, api.RunDone, "OldRejected")
	disabled, forced := step(t, r, "held", "DeadlineDisables"), step(t, r, "verifying", "DeadlineForces")
	if took := disabled.Sub(*r.Promoted); took < evidenceDeadline {
		t.Errorf("it was disabled %v after the promotion, its deadline is %v", took, evidenceDeadline)
	}
	if took := forced.Sub(disabled); took < disabledFor {
		t.Errorf("it was revoked %v after it was disabled, its grace is %v", took, disabledFor)
	}
	e.refused(t, byDisable, forced)
	e.records(t, byDisable, api.AuditRecord{Operation: "rotation.held", Reason: "DeadlineDisables", Detail: laggards[0]},
		api.AuditRecord{Operation: "rotation.verifying", Reason: "DeadlineForces", Detail: laggards[0]})
}

// goesLast: the old credential goes when the last of the laggards is gone. It is the one that is often away, so that the target alone would not tell.
func (e *evidence) goesLast(t *testing.T, promoted time.Time) {
	once := make(map[string]*app)
	for _, a := range e.apps {
		if a.once {
			once["@"+a.address] = a
		}
	}
	once[laggards[0]].stop()
	// By then the old version would be gone if only those held it who moved, one of them at the address of a laggard: the ledger's instants are that coarse.
	time.Sleep(time.Until(promoted.Add(ledger.Coarse + connectionLife)))
	e.accepted(t, byEvidence)
	once[laggards[2]].stop()
	time.Sleep(connectionLife) // what the two that are gone left is over
	e.accepted(t, byEvidence)
	r := e.run(t, byEvidence)
	if !slices.ContainsFunc(r.Waiting, func(h api.RotationHolder) bool { return h.Instance == laggards[1] }) || r.State != "awaiting" {
		t.Errorf("the run stands at %s (%s) and waits for %+v", r.State, r.Reason, r.Waiting)
	}
	gone := time.Now()
	once[laggards[1]].stop()
	r = e.reaches(t, byEvidence, api.RunDone, "OldRejected")
	if at := step(t, r, "verifying", "SafeToRevoke"); at.Sub(gone) < connectionLife-4*time.Second {
		t.Errorf("it was revoked %v after its last user left, who may be back within %v", at.Sub(gone), connectionLife)
	}
	t.Logf("revoked %v after the last laggard left, %v after the promotion", r.Ended.Sub(gone).Round(time.Millisecond), r.Ended.Sub(*r.Promoted).Round(time.Second))
	e.records(t, byEvidence, api.AuditRecord{Operation: "rotation.verifying", Reason: "SafeToRevoke"})
	// Those that moved go on, also after the end of the old credential.
	work(t, slices.DeleteFunc(slices.Clone(e.apps), func(a *app) bool { return a.over }))
}

// accepted requires that the old credential still signs its laggards in, now.
func (e *evidence) accepted(t *testing.T, name string) {
	t.Helper()
	kept := slices.DeleteFunc(slices.Clone(e.apps), func(a *app) bool { return !a.once || a.over })
	work(t, kept)
	for _, a := range kept {
		if said := a.said("refused "+name, "failed "+name); len(said) > 0 {
			t.Errorf("the application at %s holds the old version of %s, and is refused: %v", a.address, name, said[0])
		}
	}
}

// refused requires that those who kept the old credential are refused, and were not before an instant.
func (e *evidence) refused(t *testing.T, name string, from time.Time) {
	t.Helper()
	for _, a := range e.apps {
		if !a.once {
			continue
		}
		await(t, patience, func() error {
			if len(a.said("refused "+name)) == 0 {
				return fmt.Errorf("the application at %s signs in to %s all the same", a.address, name)
			}
			return nil
		})
		if first := a.said("refused "+name, "failed "+name)[0]; first.at.Before(from) {
			t.Errorf("the application at %s was refused at %v, before the end of the old version of %s at %v: %s", a.address, first.at, name, from, first.text)
		}
	}
}

func (e *evidence) holders(t *testing.T, name string) *api.VersionHolderList {
	t.Helper()
	l, err := e.node.vault.Holders(t.Context(), name, e.first[name], 100)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (e *evidence) run(t *testing.T, name string) *api.Rotation {
	t.Helper()
	r, err := e.node.vault.Rotation(t.Context(), e.runs[name])
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// reaches waits until the revocation of a secret stands in a state for a reason.
func (e *evidence) reaches(t *testing.T, name, state, reason string) (r *api.Rotation) {
	t.Helper()
	await(t, evidenceDeadline+patience, func() error {
		if r = e.run(t, name); r.State != state || r.Reason != reason {
			return fmt.Errorf("the revocation of %s stands at %s (%s)", name, r.State, r.Reason)
		}
		return nil
	})
	return r
}

// step is when the run entered a state for a reason.
func step(t *testing.T, r *api.Rotation, to, reason string) time.Time {
	t.Helper()
	for _, s := range r.Steps {
		if s.To == to && s.Reason == reason {
			return s.At
		}
	}
	t.Fatalf("the run never came to %s for %s: %+v", to, reason, r.Steps)
	return time.Time{}
}

// records requires audit records of a secret whose members are those of the wanted, or, for texts, contain them.
func (e *evidence) records(t *testing.T, name string, want ...api.AuditRecord) {
	t.Helper()
	var all []*api.AuditRecord
	for r, err := range e.client(t).AuditRecords(t.Context(), client.AuditFilter{Object: name}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	for _, w := range want {
		if !slices.ContainsFunc(all, func(r *api.AuditRecord) bool {
			return r.Outcome == "allowed" && (w.Operation == "" || r.Operation == w.Operation) && (w.Principal == "" || r.Principal == w.Principal) &&
				strings.Contains(r.Reason, w.Reason) && strings.Contains(r.Detail, w.Detail)
		}) {
			t.Errorf("the audit log of %s has no record like %+v", name, w)
			for _, r := range all {
				t.Logf("  %s %s %s %q %q", r.Operation, r.Principal, r.Outcome, r.Reason, r.Detail)
			}
		}
	}
}

func (e *evidence) client(t *testing.T) *client.Client {
	t.Helper()
	config, err := client.ConfigFromEnv(func(name string) string { return e.node.env[name] })
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// keywright runs the command line as the administrator.
func (e *evidence) keywright(args ...string) (out, said string, code int) {
	var stdout, stderr bytes.Buffer
	code = cli.Run(e.t.Context(), cli.Config{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(name string) string { return e.node.env[name] }}, args)
	return stdout.String(), stderr.String(), code
}

var atHost = regexp.MustCompile(`@127\.0\.7\.\d+`)

// instances are those at the applications' addresses, in the order of the lines that begin in a way.
func instances(text, begins string) (list []string) {
	for line := range strings.Lines(text) {
		// The sentence above them names the first one too.
		if at := atHost.FindString(line); at != "" && strings.HasPrefix(line, begins) && !strings.Contains(line, " consumers of version ") {
			list = append(list, at)
		}
	}
	return list
}

func sameSet(a, b []string) bool { return slices.Equal(slices.Sorted(slices.Values(a)), b) }

// await waits until something holds, at most for the given time.
func await(t *testing.T, most time.Duration, holds func() error) {
	t.Helper()
	for end := time.Now().Add(most); ; time.Sleep(50 * time.Millisecond) {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v later: %v", most.Round(time.Second), err)
		}
	}
}

// absent skips the test, loudly, and fails it in CI.
func absent(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skip("SKIPPED, NOT PASSED: ", fmt.Sprintf(format, args...))
}

// app is a running application.
type app struct {
	t       *testing.T
	address string
	once    bool
	process *process.Process
	// over is true when the test ended it.
	over bool

	mu    sync.Mutex
	lines []line
}

type line struct {
	at   time.Time
	text string
}

// python is the interpreter that Debian's packages are installed for.
const python = "/usr/bin/python3"

// launch starts the applications, each behind the address of its host.
func (e *evidence) launch(modules string, pgPort int) {
	t := e.t
	dir := t.TempDir()
	for name, from := range map[string]string{"app.mjs": "testdata/app.mjs", "app.py": "testdata/app.py"} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(modules, filepath.Join(dir, "node_modules"))
	}
	if err != nil {
		t.Fatal(err)
	}
	command := map[string][]string{"go": {self}, "javascript": {"node", "app.mjs"}, "python": {python, "app.py"}}
	ready := make(map[int]bool)
	for _, h := range hosts {
		address := hostAddress(h.host)
		if !ready[h.host] {
			relay(t, address, e.node.port)
			relay(t, address, pgPort)
			ready[h.host] = true
		}
		names := regexp.MustCompile(`[a-z]+\.vault\.([a-z.]+)`).FindStringSubmatch(e.node.env["KEYWRIGHT_VAULT_URL"])
		spec := netns.Spec{Hosts: "127.0.0.1 localhost\n" + address + " " + names[0] + " login." + names[1] + " " + names[1] + "\n"}
		cmd, err := spec.Command(t.Context(), command[h.kind][0], command[h.kind][1:]...)
		if err != nil {
			t.Fatal(err)
		}
		poll, thin := "0.5", "0"
		if h.once {
			poll = "0"
		}
		if h.thin {
			thin = "1"
		}
		env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": dir, "PYTHONDONTWRITEBYTECODE": "1", appEnv: "1", "POLL": poll, "SPARSE": thin,
			"SECRETS": strings.Join(slices.Sorted(slices.Values([]string{byEvidence, byHold, byForce, byDisable})), ","), "VAULT_URL": e.node.env["KEYWRIGHT_VAULT_URL"],
			"PGHOST": address, "PGPORT": fmt.Sprint(pgPort), "PGDATABASE": "app", "PGSSLMODE": "disable"}
		for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"} {
			env[name] = e.node.env[name]
		}
		cmd.Dir = dir
		for name := range maps.Keys(env) {
			cmd.Env = append(cmd.Env, name+"="+env[name])
		}
		e.apps = append(e.apps, startApp(t, cmd, address, h.once))
	}
}

func startApp(t *testing.T, cmd *exec.Cmd, address string, once bool) *app {
	t.Helper()
	a := &app{t: t, address: address, once: once}
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	var err error
	if a.process, err = process.Start("an application", cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(read); lines.Scan(); {
			a.mu.Lock()
			a.lines = append(a.lines, line{time.Now(), lines.Text()})
			a.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		a.stop()
		if t.Failed() {
			a.mu.Lock()
			defer a.mu.Unlock()
			kept := slices.DeleteFunc(slices.Clone(a.lines), func(l line) bool { return l.text == "worked" })
			t.Logf("the application at %s (once: %v): %v", a.address, a.once, kept[:min(len(kept), 12)])
		}
		write.Close()
	})
	return a
}

func (a *app) stop() {
	_ = a.process.Stop(syscall.SIGKILL, 10*time.Second)
	a.over = true
}

// said are the lines that begin in one of the ways.
func (a *app) said(begins ...string) (list []line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.lines {
		if slices.ContainsFunc(begins, func(b string) bool { return strings.HasPrefix(l.text, b) }) {
			list = append(list, l)
		}
	}
	return list
}

// holds waits until the application holds a version of a secret other than the given one, and returns it.
func (a *app) holds(name, other string) (version string) {
	a.t.Helper()
	await(a.t, patience, func() error {
		said := a.said("holds " + name + " ")
		if len(said) > 0 {
			if version = strings.Fields(said[len(said)-1].text)[2]; version != other {
				return nil
			}
		}
		select {
		case <-a.process.Done():
			a.t.Fatalf("the application at %s ended", a.address)
		default:
		}
		return fmt.Errorf("the application at %s holds the version %q of %s", a.address, version, name)
	})
	return version
}

// work waits until each of the applications has gone through four seconds of its work once more.
func work(t *testing.T, apps []*app) {
	t.Helper()
	const loops = 16
	before := make([]int, len(apps))
	for i, a := range apps {
		before[i] = len(a.said("worked"))
	}
	for i, a := range apps {
		await(t, patience, func() error {
			if len(a.said("worked")) < before[i]+loops {
				return fmt.Errorf("the application at %s does not work", a.address)
			}
			return nil
		})
	}
}

// relay lets a port of an address lead to the same port of 127.0.0.1, where whoever comes this way is seen at that address.
func relay(t *testing.T, at string, port int) {
	t.Helper()
	l, err := net.Listen("tcp4", net.JoinHostPort(at, fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(at)}}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				to, err := dialer.Dial("tcp4", address(port))
				if err != nil {
					return
				}
				defer to.Close()
				go func() {
					_, _ = io.Copy(to, from)
					_ = to.(*net.TCPConn).CloseWrite()
				}()
				_, _ = io.Copy(from, to)
			}()
		}
	}()
}
