package server

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/merkle"
	"github.com/keywright/keywright/internal/node"
	"github.com/keywright/keywright/internal/store"
)

// TestLogThatWasSetBack restores an older copy of the log's directory under the store: the server notices at its start, sets the files aside, and begins
// another log that says so; a proof names what is lost.
func TestLogThatWasSetBack(t *testing.T) {
	dir, older := t.TempDir(), filepath.Join(t.TempDir(), "older")
	log := filepath.Join(dir, auditDir)
	copyLog := func(from, to string) {
		t.Helper()
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	round := func() *Dev {
		t.Helper()
		d := startDev(t, dir)
		if answer, body := d.azure(t).do("PUT", "/secrets/one?api-version=7.6", `{"value":"x"}`); answer.StatusCode != 200 {
			t.Fatal(body)
		}
		return d
	}
	d := round()
	first := d.core.audit.log.Origin()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	copyLog(log, older)
	d = round()
	if origin := d.core.audit.log.Origin(); origin != first {
		t.Fatalf("a restart began the log %s", origin)
	}
	kept := d.core.audit.log.LatestCheckpoint()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	copyLog(older, log)
	d = round()
	next := d.core.audit.log.Origin()
	if next != first+".2" {
		t.Fatalf("the log behind one that was set back is %s", next)
	}
	var said bool
	for r, err := range d.core.audit.log.Query(t.Context(), audit.Filter{Operation: "AuditLogBegin"}) {
		said = err == nil && strings.Contains(r.Detail, "restored from an older copy")
	}
	if !said {
		t.Error("the log does not say why it began")
	}
	if aside, err := filepath.Glob(log + "-before-*"); err != nil || len(aside) != 1 {
		t.Errorf("the files of the log before are in %q, %v", aside, err)
	}
	reports, err := d.core.reader.Verify(t.Context(), [][]byte{kept})
	if err != nil || len(reports) != 2 || reports[0].OK() || !reports[1].OK() || reports[1].Before != first {
		t.Fatalf("the proof: %v, %+v", err, reports)
	}
	if p := reports[0].Problems[0]; !strings.Contains(p.Detail, "went on with the log "+next) {
		t.Errorf("the proof says %v", p)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = startDev(t, dir)
	if origin := d.core.audit.log.Origin(); origin != next {
		t.Errorf("another restart began the log %s", origin)
	}
}

// TestLogOfAReleaseBefore: the log of a release that knew one node goes on under its name and key, and from its newest checkpoint.
func TestLogOfAReleaseBefore(t *testing.T) {
	d := startDev(t, t.TempDir())
	const id, origin = "feedfacefeedface", "keywright/feedfacefeedface"
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := merkle.Checkpoint{Origin: origin, Size: 7}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := d.core.keys.SealAudit(nil, "", []byte(private), []byte(signerSetting))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{nodeSetting: []byte(id), signerSetting: sealed, verifierSetting: []byte(public), checkpointSetting: signed} {
		if err := d.core.store.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error { return tx.PutSetting(t.Context(), name, value) }); err != nil {
			t.Fatal(err)
		}
	}
	k := &core{store: d.core.store, keys: d.core.keys, clock: d.core.clock, nodes: &node.Registry{Config: node.Config{ID: id}}}
	logs := archive.Logs{Store: k.store, Clock: k.clock}
	entry, err := k.logBefore(t.Context(), logs, origin)
	if err != nil || entry == nil || entry.Key != public || entry.Size != 7 {
		t.Fatalf("the list has %+v: %v", entry, err)
	}
	who, err := k.keysOf(t.Context(), entry)
	if err != nil || who.signer.Name() != origin || who.verifier.KeyHash() != signer.KeyHash() {
		t.Errorf("the keys are %+v: %v", who, err)
	}
	k.nodes.ID = "0123456789abcdef"
	if entry, err := k.logBefore(t.Context(), logs, "keywright/"+k.nodes.ID); err != nil || entry != nil {
		t.Errorf("another node took the log over: %+v, %v", entry, err)
	}
}
