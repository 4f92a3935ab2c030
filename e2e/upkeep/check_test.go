package upkeep_test

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

// kept is what a store has of one object: its versions, and which is the current one.
type kept struct {
	deleted  bool
	versions map[string]string
	current  string
}

// check compares a server with what a load knows. Its store comes from a backup of the window, and obeys the tombstones of a newer one. It returns how many
// versions were compared.
func (l *load) check(s *devserver.Server, made, newer window) int {
	l.t.Helper()
	ctx, v := l.t.Context(), s.Client(l.t).Vault(vaultName)
	secrets := names(ctx, l.t, v.Objects, func(s *client.Secret) string { return s.Name }, l.prefix)
	keys := names(ctx, l.t, v.Keys().Objects, func(k *client.Key) string { return k.Name }, l.prefix)
	there := make([]*kept, len(l.objects))
	var group errgroup.Group
	group.SetLimit(4)
	for i, o := range l.objects {
		f, read := secrets, readSecret
		if o.key {
			f, read = keys, readKey
		}
		live, deleted := f.live[o.name], f.deleted[o.name]
		delete(f.live, o.name)
		delete(f.deleted, o.name)
		if live && deleted {
			l.t.Errorf("%s is there, and deleted as well", o.name)
		}
		if !live && !deleted {
			continue
		}
		group.Go(func() (err error) {
			if deleted { // its versions are read as anybody would who misses it
				if _, err := v.Recover(ctx, o.name); err != nil {
					return fmt.Errorf("recovering %s: %w", o.name, err)
				}
			}
			if there[i], err = read(ctx, v, o.name); err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
			there[i].deleted = deleted
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		l.t.Fatal(err)
	}
	for _, f := range []found{secrets, keys} {
		if len(f.live)+len(f.deleted) > 0 {
			l.t.Errorf("nobody ever made %v, %v", f.live, f.deleted)
		}
	}
	// A backup is one moment of the store: what was acknowledged before something began that it has, it has too.
	for i, o := range l.objects {
		made.from = max(made.from, o.latest(there[i]))
	}
	sum := 0
	for i, o := range l.objects {
		n, err := o.judge(there[i], made, newer)
		if err != nil {
			l.t.Errorf("%s: %v", o.name, err)
		}
		sum += n
	}
	return sum
}

// latest is when the last thing was begun that the store has of the object.
func (o *object) latest(k *kept) (at moment) {
	if k == nil {
		return 0
	}
	if k.deleted {
		at = o.deleting
	}
	for _, v := range o.versions {
		if _, ok := k.versions[v.id]; ok {
			at = max(at, v.begun)
		}
	}
	return at
}

// judge says what is wrong with what there is of an object, nil if there is nothing, and how many versions are as they were made.
func (o *object) judge(k *kept, made, newer window) (same int, err error) {
	before := func(m, at moment) bool { return m != 0 && m <= at }
	begun, acked := len(o.versions) > 0 && before(o.versions[0].begun, made.to), len(o.versions) > 0 && before(o.versions[0].acked, made.from)
	switch {
	case k == nil && acked && !before(o.purging, max(made.to, newer.to)):
		return 0, errors.New("it was acknowledged before the backup, and is gone")
	case k == nil:
		return 0, nil
	case before(o.purged, max(made.from, newer.from)):
		return 0, errors.New("it had been purged, and is there again")
	case !begun:
		return 0, errors.New("it was made after the backup, and is there")
	case !k.deleted && before(o.deleted, made.from):
		return 0, errors.New("it had been deleted, and is live")
	case k.deleted && !before(o.deleting, made.to):
		return 0, errors.New("it had not been deleted, and is")
	}
	return o.compare(k, made)
}

// compare compares the versions, by their ids, with those that were made.
func (o *object) compare(k *kept, made window) (same int, err error) {
	newest := ""
	for n, v := range o.versions {
		content, ok := k.versions[v.id]
		delete(k.versions, v.id)
		switch {
		case !ok && v.acked != 0 && v.acked <= made.from:
			return same, fmt.Errorf("its version %d was acknowledged before the backup, and is gone", n)
		case ok && v.begun > made.to:
			return same, fmt.Errorf("its version %d was made after the backup, and is there", n)
		case ok && content != v.content:
			return same, fmt.Errorf("its version %d has %d bytes that are not the %d that were set", n, len(content), len(v.content))
		case ok:
			same, newest = same+1, v.id
		}
	}
	switch {
	case len(k.versions) > 0:
		return same, fmt.Errorf("it has %d versions that nobody made", len(k.versions))
	case k.current != newest:
		return same, fmt.Errorf("its current version is %s, and the newest one %s", k.current, newest)
	}
	return same, nil
}

// readSecret reads the values of all versions.
func readSecret(ctx context.Context, v *client.Vault, name string) (*kept, error) {
	k := &kept{versions: map[string]string{}}
	for s, err := range v.Versions(ctx, name) {
		if err != nil {
			return nil, err
		}
		whole, err := v.GetVersion(ctx, name, client.Selector{Version: s.Version})
		if err != nil {
			return nil, err
		}
		k.versions[s.Version] = string(whole.Bytes())
	}
	current, err := v.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	k.current = current.Version
	return k, nil
}

// readKey reads the public halves of all versions, and lets the private ones sign.
func readKey(ctx context.Context, v *client.Vault, name string) (*kept, error) {
	k := &kept{versions: map[string]string{}}
	for version, err := range v.Keys().Versions(ctx, name) {
		if err != nil {
			return nil, err
		}
		which := client.Selector{Version: version.Version}
		whole, err := v.Keys().Get(ctx, name, which)
		if err != nil {
			return nil, err
		}
		if err := signs(ctx, v, whole, which); err != nil {
			return nil, fmt.Errorf("version %s: %w", version.Version, err)
		}
		k.versions[version.Version] = whole.PublicKey
	}
	current, err := v.Keys().Get(ctx, name, client.Selector{})
	if err != nil {
		return nil, err
	}
	k.current = current.Version
	return k, nil
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
