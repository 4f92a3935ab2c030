package durability_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/e2e/workload"
	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

const (
	readers = 4
	// ed25519Algorithm is package note's number for Ed25519 keys.
	ed25519Algorithm = 1

	origin = "durability.example/audit"
	nodeID = "node"
	// Segments so small that a recording goes through many, with as many in reserve.
	segmentBytes = 16 << 10
	reserveBytes = 2 * segmentBytes
)

// Keys of the workload's log: the same in every process, worth nothing.
var (
	signer, verifier = signingKey()
	recordKey        = newGCM(make([]byte, 16))
)

func signingKey() (note.Signer, note.Verifier) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public, err := note.NewEd25519VerifierKey(origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		panic(err)
	}
	// note takes a private key in its text form: name, hash of the public key, algorithm 1 and seed.
	private := fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", origin, verifier.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{ed25519Algorithm}, key.Seed()...)))
	signer, err := note.NewSigner(private)
	if err != nil {
		panic(err)
	}
	return signer, verifier
}

func newGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return gcm
}

// sealer seals records with the workload's key.
type sealer struct{}

// SealAudit implements audit.Sealer.
func (sealer) SealAudit(dst []byte, _ string, plaintext, additional []byte) ([]byte, error) {
	return recordKey.Seal(dst, nil, plaintext, additional), nil
}

// OpenAudit implements audit.Sealer.
func (sealer) OpenAudit(dst []byte, _ string, sealed, additional []byte) ([]byte, error) {
	return recordKey.Open(dst, nil, sealed, additional)
}

func auditConfig(dir string, durability audit.Durability) audit.Config {
	return audit.Config{
		Dir: dir, Node: nodeID, Origin: origin, Signer: signer, Verifier: verifier, Sealer: sealer{},
		Durability: durability, SegmentBytes: segmentBytes, ReserveBytes: reserveBytes,
		SyncInterval: 10 * time.Millisecond, CheckpointInterval: 10 * time.Millisecond, CheckpointRecords: 50,
	}
}

// decide records a decision and acknowledges it. A log that cannot be written says so; then nothing is acknowledged.
func decide(run *workload.Run, log *audit.Log, caller string) error {
	id := audit.NewID()
	err := log.Append(context.Background(), &audit.Record{ID: id, Action: "secrets/getSecret/action", Outcome: audit.Allowed, ObjectName: caller})
	if fault.Is(err, fault.Unavailable) {
		return nil
	}
	if err != nil {
		return err
	}
	return run.Ack("%s %s", ackDecision, id)
}

// auditFrame makes the audit row of a change. The record has the version's id.
func auditFrame(object string, version vault.VersionID, now time.Time) ([]byte, error) {
	return audit.Seal(nil, sealer{}, &audit.Record{
		ID: recordID(version), Time: now, Node: nodeID, Action: "secrets/setSecret/action", Outcome: audit.Allowed, ObjectName: object, Version: string(version),
	})
}

// recordID is the version's id as the audit log writes ids.
func recordID(version vault.VersionID) (id audit.ID) {
	_, _ = hex.Decode(id[:], []byte(version))
	return id
}

func eventRecordID(c *store.Commit) audit.ID { return recordID(vault.VersionID(c.Events[0].ID)) }

// sequence brings every audit row into the log and returns how often each id stands in it.
func (n *node) sequence(ctx context.Context) (map[string]int, error) {
	for {
		rows, err := n.sequencer.Round(ctx)
		if err != nil {
			return nil, err
		}
		if rows == 0 {
			break
		}
	}
	count := map[string]int{}
	for r, err := range n.log.Query(ctx, audit.Filter{}) {
		if err != nil {
			return nil, err
		}
		count[r.ID.String()]++
	}
	return count, nil
}

// verifyAudit proves the closed log, whole.
func verifyAudit(dir string) error {
	d, err := disk.ReadDir(filepath.Join(dir, auditDir))
	if err != nil {
		return err
	}
	report, err := audit.Verify(context.Background(), d, audit.VerifyOptions{Origin: origin, Verifiers: note.VerifierList(verifier)})
	if err := errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("verifying the audit log: %w", err)
	}
	if !report.OK() || report.Proven != report.Records {
		var problems []string
		for _, p := range report.Problems {
			problems = append(problems, p.String())
		}
		return fmt.Errorf("the audit log has %d records, %d proven, and problems: %s", report.Records, report.Proven,
			strings.Join(problems, "; "))
	}
	return nil
}
