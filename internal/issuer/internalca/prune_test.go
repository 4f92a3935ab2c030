package internalca_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// Records go a while after their certificates' ends, and all of them with the authority's own certificate.
func TestPrune(t *testing.T) {
	ctx := context.Background()
	s, err := sqlite.Open(sqlite.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	update := func(fn func(tx store.Tx) error) {
		t.Helper()
		if err := s.Update(ctx, store.NewOp(start), fn); err != nil {
			t.Fatal(err)
		}
	}
	home := vault.NewID(start)
	// authority stands for a certificate that signs, and gave out certificates that end so many days after the start.
	authority := func(name string, ends ...int) (*vault.Object, store.Authority) {
		o := &vault.Object{ID: vault.NewObjectID(start), Vault: home, Kind: vault.Certificate, Name: name, Created: start}
		ver := &vault.Version{ID: vault.NewVersionID(start), Object: o.ID, Attributes: vault.Attributes{Enabled: true, Created: start, Updated: start}}
		o.Current = ver.ID
		a := store.Authority{ID: string(ver.ID), Tenant: vault.NewTenantID(), Vault: home, NameKey: vault.NameKey(name), Version: ver.ID}
		update(func(tx store.Tx) error {
			if err := tx.AddVersion(ctx, ver); err != nil {
				return err
			}
			if err := tx.PutObject(ctx, o); err != nil {
				return err
			}
			if err := tx.AddAuthority(ctx, &a); err != nil {
				return err
			}
			for i, days := range ends {
				if err := tx.AddIssuance(ctx, &store.Issuance{Authority: a.ID, Serial: fmt.Sprint(i), Request: fmt.Sprint(i), DER: []byte{1}, NotAfter: start.AddDate(0, 0, days)}); err != nil {
					return err
				}
			}
			return nil
		})
		return o, a
	}
	_, kept := authority("Kept", 1, 20, 400)
	purged, gone := authority("Gone", 1, 400, 4000)
	left := func(a store.Authority) (serials string) {
		t.Helper()
		for i := range 3 {
			err := s.View(ctx, func(tx store.Tx) error { _, err := tx.Issuance(ctx, a.ID, fmt.Sprint(i)); return err })
			if err == nil {
				serials += fmt.Sprint(i)
			} else if !fault.Is(err, fault.NotFound) {
				t.Fatal(err)
			}
		}
		return serials
	}
	prune := func(days int) int {
		t.Helper()
		n, err := internalca.Prune(ctx, s, start.AddDate(0, 0, days).Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := prune(25); n != 0 || left(kept) != "012" || left(gone) != "012" {
		t.Errorf("%d went before they had stood on a last list: %s, %s", n, left(kept), left(gone))
	}
	if n := prune(31); n != 2 || left(kept) != "12" || left(gone) != "12" {
		t.Errorf("%d went a month after the first end: %s, %s", n, left(kept), left(gone))
	}
	update(func(tx store.Tx) error { // soft-deleted, it can be recovered, and says what it has revoked
		o, err := tx.Object(ctx, home, vault.Certificate, "Gone")
		if err != nil {
			return err
		}
		o.Deleted = &vault.Deletion{At: start, PurgeAt: start.AddDate(0, 0, 90)}
		return tx.PutObject(ctx, o)
	})
	if n := prune(31); n != 0 || left(gone) != "12" {
		t.Errorf("%d of a certificate went that can be recovered", n)
	}
	update(func(tx store.Tx) error { return tx.DeleteObject(ctx, purged, start) })
	if n := prune(31); n != 2 || left(gone) != "" || left(kept) != "12" {
		t.Errorf("%d went with the authority: %q of it are left, %q of the other", n, left(gone), left(kept))
	}
	err = s.View(ctx, func(tx store.Tx) error { _, err := tx.Authority(ctx, gone.ID); return err })
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("the authority itself: %v", err)
	}
}
