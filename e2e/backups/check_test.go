package backups_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/e2e/devserver"
)

// window is when a backup was made: it has everything that was acknowledged before from, and nothing that was begun after to.
type window struct{ from, to moment }

// found is what a store has under the names of a load.
type found struct {
	live, deleted map[string]bool
}

// names lists what there is of a kind, without what other loads made.
func names[T any](ctx context.Context, t testing.TB, objects client.Objects[T], name func(*T) string, prefix string) found {
	t.Helper()
	f := found{map[string]bool{}, map[string]bool{}}
	for o, err := range objects.List(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name(o), prefix+"-") {
			f.live[name(o)] = true
		}
	}
	for o, err := range objects.ListDeleted(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name(o), prefix+"-") {
			f.deleted[name(o)] = true
		}
	}
	return f
}

// check compares a server with what a load knows. Its store comes from a backup of the window, and obeys the tombstones of a newer one. It returns how many
// versions were compared.
func (l *load) check(s *devserver.Server, made, newer window) int {
	l.t.Helper()
	ctx, v := l.t.Context(), s.Client(l.t).Vault(vaultName)
	secrets := names(ctx, l.t, v.Objects, func(s *client.Secret) string { return s.Name }, l.prefix)
	keys := names(ctx, l.t, v.Keys().Objects, func(k *client.Key) string { return k.Name }, l.prefix)
	var group errgroup.Group
	group.SetLimit(4)
	counts := make([]int, len(l.objects))
	for i, o := range l.objects {
		f, versions := secrets, l.secret
		if o.key {
			f, versions = keys, l.key
		}
		there, err := o.judge(f, made, newer)
		if err != nil {
			l.t.Errorf("%s: %v", o.name, err)
		}
		deleted := f.deleted[o.name]
		delete(f.live, o.name)
		delete(f.deleted, o.name)
		if !there {
			continue
		}
		group.Go(func() error {
			if deleted { // its versions are read as anybody would who misses it
				if _, err := v.Recover(ctx, o.name); err != nil {
					return fmt.Errorf("recovering %s: %w", o.name, err)
				}
			}
			has, err := versions(ctx, v, o)
			if err == nil {
				counts[i], err = o.compare(has, made)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		l.t.Error(err)
	}
	for _, f := range []found{secrets, keys} {
		if len(f.live)+len(f.deleted) > 0 {
			l.t.Errorf("nobody ever made %v, %v", f.live, f.deleted)
		}
	}
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}

// judge says whether the object is there, live or deleted, and what is wrong with that.
func (o *object) judge(f found, made, newer window) (there bool, err error) {
	live, deleted := f.live[o.name], f.deleted[o.name]
	before := func(m, at moment) bool { return m != 0 && m <= at }
	buried := before(o.purged, max(made.from, newer.from))
	begun, acked := len(o.versions) > 0 && before(o.versions[0].begun, made.to), len(o.versions) > 0 && before(o.versions[0].acked, made.from)
	switch {
	case live && deleted:
		return true, errors.New("it is there, and deleted as well")
	case (live || deleted) && buried:
		return true, errors.New("it had been purged, and is there again")
	case (live || deleted) && !begun:
		return true, errors.New("it was made after the backup, and is there")
	case live && before(o.deleted, made.from):
		return true, errors.New("it had been deleted, and is live")
	case deleted && !before(o.deleting, made.to):
		return true, errors.New("it had not been deleted, and is")
	case !live && !deleted && acked && !before(o.purging, max(made.to, newer.to)):
		return false, errors.New("it was acknowledged before the backup, and is gone")
	}
	return live || deleted, nil
}

// compare compares an object's versions, by their ids, with those that were made, and returns how many are the same.
func (o *object) compare(has map[string]string, made window) (int, error) {
	same := 0
	for n := range o.versions {
		made1 := &o.versions[n]
		content, ok := has[made1.id]
		delete(has, made1.id)
		switch {
		case !ok && made1.acked != 0 && made1.acked <= made.from:
			return same, fmt.Errorf("its version %d was acknowledged before the backup, and is gone", n)
		case ok && made1.begun > made.to:
			return same, fmt.Errorf("its version %d was made after the backup, and is there", n)
		case ok && content != made1.content:
			return same, fmt.Errorf("its version %d has %d bytes that are not the %d that were set", n, len(content), len(made1.content))
		case ok:
			same++
		}
	}
	if len(has) > 0 {
		return same, fmt.Errorf("it has %d versions that nobody made", len(has))
	}
	return same, nil
}

// secret reads the values of all versions.
func (l *load) secret(ctx context.Context, v *client.Vault, o *object) (map[string]string, error) {
	has := map[string]string{}
	for s, err := range v.Versions(ctx, o.name) {
		if err != nil {
			return nil, err
		}
		whole, err := v.GetVersion(ctx, o.name, client.Selector{Version: s.Version})
		if err != nil {
			return nil, err
		}
		has[s.Version] = string(whole.Bytes())
	}
	return has, nil
}

// key reads the public halves of all versions, and lets the private ones sign.
func (l *load) key(ctx context.Context, v *client.Vault, o *object) (map[string]string, error) {
	has := map[string]string{}
	for k, err := range v.Keys().Versions(ctx, o.name) {
		if err != nil {
			return nil, err
		}
		which := client.Selector{Version: k.Version}
		whole, err := v.Keys().Get(ctx, o.name, which)
		if err != nil {
			return nil, err
		}
		if err := signs(ctx, v, whole, which); err != nil {
			return nil, fmt.Errorf("version %s: %w", k.Version, err)
		}
		has[k.Version] = whole.PublicKey
	}
	return has, nil
}

// signs checks a signature of the private half by the public one.
func signs(ctx context.Context, v *client.Vault, k *client.Key, which client.Selector) error {
	digest := sha256.Sum256([]byte(k.Name))
	made, err := v.Keys().Sign(ctx, k.Name, which, client.UseKey{Algorithm: "ES256", Value: digest[:]})
	if err != nil {
		return err
	}
	block, _ := pem.Decode([]byte(k.PublicKey))
	if block == nil {
		return errors.New("the public key is no PEM")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	p, ok := public.(*ecdsa.PublicKey)
	r, s := new(big.Int).SetBytes(made.Value[:len(made.Value)/2]), new(big.Int).SetBytes(made.Value[len(made.Value)/2:])
	if !ok || !ecdsa.Verify(p, digest[:], r, s) {
		return errors.New("the signature does not verify")
	}
	return nil
}
