package composition

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Config makes a Service. Everything is required.
type Config struct {
	Guard   *guard.Guard
	Store   store.Store
	Secrets *secret.Service
	Clock   clock.Clock
	Logger  *slog.Logger
}

// Service sets templates and keeps composed secrets up to date.
type Service struct {
	Config
	wake chan struct{}
	stop context.CancelFunc
	done sync.WaitGroup

	mu sync.RWMutex // guards those below
	// parts are the vaults' name keys that a commit may change with an effect; nil while nothing is known, and then every commit may.
	parts map[vault.ID]map[string]bool
	// pruned is when was last looked for what need not be remembered any more.
	pruned time.Time
}

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Secrets == nil || c.Clock == nil || c.Logger == nil {
		return nil, errors.New("compositions need a guard, a store, secrets, a clock and a logger")
	}
	return &Service{Config: c, wake: make(chan struct{}, 1)}, nil
}

// NotFound is the reason when a secret has no template.
const NotFound fault.Reason = "TemplateNotFound"

// Composed is a secret with a template, or one that had one.
type Composed struct {
	Name string `json:"name"`
	// Template is empty once it was deleted: what the values were made of is remembered while somebody may hold one. See prune.
	Template string `json:"template"`
	// Made are the latest values, the newest last.
	Made []Made `json:"made"`
	// First is the first version that was made of parts, once it is among those that Made has forgotten.
	First vault.VersionID `json:"first,omitempty"`
	// Problem is why the value is not up to date; empty while it is.
	Problem string `json:"problem,omitempty"`
}

// Made says of which versions of the parts one version of a composed secret was made.
type Made struct {
	Version vault.VersionID            `json:"version"`
	At      time.Time                  `json:"at"`
	Parts   map[string]vault.VersionID `json:"parts"`
}

// maxMade bounds what is remembered in detail. What was made before may be made of any version that a part had then: see Uses.
const maxMade = 32

func (c *Composed) made(m Made) {
	c.Made = append(c.Made, m)
	if n := len(c.Made); n > maxMade {
		c.First = cmp.Or(c.First, c.Made[0].Version)
		c.Made = slices.Clone(c.Made[n-maxMade:])
	}
	c.Problem = ""
}

// fresh reports whether the newest value was made of these versions.
func (c *Composed) fresh(parts map[string]vault.VersionID) bool {
	return len(c.Made) > 0 && sameParts(c.Made[len(c.Made)-1].Parts, parts)
}

// book holds the composed secrets of a vault by the ids of their objects. It is one setting, so that a ring is noticed whoever closes it.
type book map[vault.ObjectID]*Composed

// settings begins the keys of the settings that hold books.
const settings = "templates/"

func setting(v vault.ID) string { return settings + string(v) }

func readBook(ctx context.Context, tx store.Tx, v vault.ID) (book, error) {
	b := book{}
	raw, err := tx.Setting(ctx, setting(v))
	if fault.Is(err, fault.NotFound) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &b)
	}
	return b, err
}

func (b book) write(ctx context.Context, tx store.Tx, v vault.ID) error {
	raw, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return tx.PutSetting(ctx, setting(v), raw)
}

// present is readBook without the secrets that were purged since: another may have the name by now.
func present(ctx context.Context, tx store.Tx, v vault.ID) (book, error) {
	b, err := readBook(ctx, tx, v)
	if err != nil {
		return nil, err
	}
	for id, c := range b {
		o, err := tx.Object(ctx, v, vault.Secret, c.Name)
		switch {
		case fault.Is(err, fault.NotFound), err == nil && o.ID != id:
			delete(b, id)
		case err != nil:
			return nil, err
		}
	}
	return b, nil
}

// ring returns the way by which a secret with such parts would be made of itself; nil when there is none.
func (b book) ring(name string, parts []string) []string {
	of := map[string][]string{}
	for _, c := range b {
		if t, err := Parse(c.Template); err == nil { // one that was deleted is none
			of[vault.NameKey(c.Name)] = t.Parts()
		}
	}
	of[vault.NameKey(name)] = parts
	seen := map[string]bool{}
	var walk func(at string, way []string) []string
	walk = func(at string, way []string) []string {
		way = append(way, at)
		for _, next := range of[at] {
			if next == vault.NameKey(name) {
				return append(way, next)
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			if found := walk(next, way); found != nil {
				return found
			}
		}
		return nil
	}
	return walk(vault.NameKey(name), nil)
}

// Set gives a secret a template and its value. A secret that does not exist is made. The caller must be allowed to set the secret and to read every part.
func (s *Service) Set(ctx context.Context, call *guard.Call, name, text string) (*Composed, error) {
	need := guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: name, Detail: "template"}
	if err := vault.CheckObjectName(name); err != nil {
		return nil, err
	}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	t, err := Parse(text)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	for _, part := range t.Parts() {
		if err := s.Guard.Authorize(ctx, call, &guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: part}); err != nil {
			return nil, err
		}
	}
	v := call.Vault.Vault
	value, parts, err := s.render(ctx, v, t)
	if err == nil {
		err = s.Store.View(ctx, func(tx store.Tx) error {
			b, err := present(ctx, tx, v.ID)
			if err != nil {
				return err
			}
			return b.check(name, t)
		})
	}
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	defer clear(value)
	// The value and what it is made of are stored together: a value without its template would never be made anew.
	var c *Composed
	beside := func(tx store.Tx, item secret.Item) error {
		b, err := present(ctx, tx, v.ID)
		if err != nil {
			return err
		}
		if err := b.check(name, t); err != nil {
			return err
		}
		c = &Composed{Name: item.Object.Name, Template: t.String()}
		if was := b[item.Object.ID]; was != nil {
			c.Made, c.First = was.Made, was.First
		}
		c.made(Made{Version: item.Version.ID, At: item.Version.Attributes.Created, Parts: parts})
		b[item.Object.ID] = c
		return b.write(ctx, tx, v.ID)
	}
	if _, err := s.Secrets.Set(ctx, call, name, secret.Input{Value: value, Enabled: true, Beside: beside, Detail: "template"}); err != nil {
		return nil, err
	}
	s.signal()
	return c, nil
}

func (b book) check(name string, t *Template) error {
	if ring := b.ring(name, t.Parts()); ring != nil {
		return fault.New(fault.Invalid, "the secret %q would be made of itself (%s): leave one of them out", name, strings.Join(ring, " <- ")).Because("TemplateCycle")
	}
	return nil
}

// render fills in the current values, and tells which versions they are.
func (s *Service) render(ctx context.Context, v *vault.Vault, t *Template) ([]byte, map[string]vault.VersionID, error) {
	values, versions := map[string][]byte{}, map[string]vault.VersionID{}
	defer func() {
		for _, value := range values {
			clear(value)
		}
	}()
	for _, part := range t.Parts() {
		var o *vault.Object
		err := s.Store.View(ctx, func(tx store.Tx) (err error) {
			o, err = tx.Object(ctx, v.ID, vault.Secret, part)
			return err
		})
		if fault.Is(err, fault.NotFound) || err == nil && (o.Deleted != nil || o.Current == "") {
			return nil, nil, fault.New(fault.NotFound, "a secret with the name %q, which the template names, was not found in this vault", part).Because("SecretNotFound")
		}
		if err != nil {
			return nil, nil, err
		}
		ver, value, err := s.Secrets.Rotation(v, o.Name, o.ID).Open(ctx, o.Current)
		if err != nil {
			return nil, nil, err
		}
		values[part], versions[part] = value, ver.ID
		if !ver.Attributes.Enabled {
			return nil, nil, fault.New(fault.Forbidden, "the current version of %q, which the template names, is disabled: enable it", part).Because("SecretDisabled")
		}
	}
	out, err := t.Render(values)
	return out, versions, err
}

// Get shows the template of a secret.
func (s *Service) Get(ctx context.Context, call *guard.Call, name string) (c *Composed, err error) {
	need := guard.Need{Action: authz.SecretList, Kind: vault.Secret, Name: name}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			_, c, _, err = find(ctx, tx, call.Vault.Vault.ID, name)
			return err
		})
	})
	return c, err
}

// Delete takes a template away. The secret keeps its value, and who holds one of its values still holds its parts.
func (s *Service) Delete(ctx context.Context, call *guard.Call, name string) error {
	need := guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: name, Reason: "template deleted"}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	v := call.Vault.Vault.ID
	defer s.signal()
	return s.Guard.Commit(ctx, call, need, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		b, _, o, err := find(ctx, tx, v, name)
		if err != nil {
			return err
		}
		b[o.ID].Template, b[o.ID].Problem = "", ""
		return b.write(ctx, tx, v)
	})
}

func find(ctx context.Context, tx store.Tx, v vault.ID, name string) (book, *Composed, *vault.Object, error) {
	o, err := tx.Object(ctx, v, vault.Secret, name)
	if fault.Is(err, fault.NotFound) || err == nil && o.Deleted != nil {
		return nil, nil, nil, fault.New(fault.NotFound, "a secret with the name %q was not found in this vault", fault.Clip(name)).Because("SecretNotFound")
	}
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := readBook(ctx, tx, v)
	if err == nil && (b[o.ID] == nil || b[o.ID].Template == "") {
		err = fault.New(fault.NotFound, "the secret %q has no template: set one", o.Name).Because(NotFound)
	}
	return b, b[o.ID], o, err
}

// Use is a version of a composed secret in which a version of a part is.
type Use struct {
	Object vault.ObjectID
	Name   string
	// Version was made of it, Replacing is the one that was made next, at Since; empty while Version is the newest.
	Version, Replacing vault.VersionID
	Since              time.Time
}

// Uses tells where a version of a secret was filled in: who reads those secrets holds it. Of values that were made too long ago to be remembered in detail it tells
// those that may be made of it.
func (s *Service) Uses(ctx context.Context, v vault.ID, nameKey string, version vault.VersionID) (list []Use, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		b, err := readBook(ctx, tx, v)
		for id, c := range b {
			for i, m := range c.Made {
				if m.Parts[nameKey] != version {
					continue
				}
				u := Use{Object: id, Name: c.Name, Version: m.Version}
				if i+1 < len(c.Made) {
					u.Replacing, u.Since = c.newest(), c.Made[i+1].At
				} else if u.Replacing, u.Since, err = byHand(ctx, tx, v, c, id); err != nil {
					return err
				}
				list = append(list, u)
			}
			if len(c.Made) == 0 {
				continue
			}
			old, err := forgotten(ctx, tx, id, c, nameKey, version)
			if err != nil {
				return err
			}
			list = append(list, old...)
		}
		return err
	})
	slices.SortFunc(list, func(a, b Use) int {
		return strings.Compare(fmt.Sprint(a.Name, a.Version), fmt.Sprint(b.Name, b.Version))
	})
	return list, err
}

// byHand is the version that somebody set after the newest one that was made of parts, and since when it is current; empty while there is none.
func byHand(ctx context.Context, tx store.Tx, v vault.ID, c *Composed, id vault.ObjectID) (vault.VersionID, time.Time, error) {
	o, err := tx.Object(ctx, v, vault.Secret, c.Name)
	if fault.Is(err, fault.NotFound) || err == nil && (o.ID != id || o.Current <= c.newest()) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, err
	}
	ver, err := tx.Version(ctx, id, o.Current)
	if err != nil {
		return "", time.Time{}, err
	}
	return ver.ID, ver.Attributes.Created, nil
}

func (c *Composed) newest() vault.VersionID { return c.Made[len(c.Made)-1].Version }

// forgottenPage is how many versions are read at once.
const forgottenPage = 200

// forgotten lists the values before those that are remembered that were made after a version of a part, unless the part had an older version still when
// memory begins. They count as replaced when memory begins, which is later than they were: whoever waits for their readers waits too long rather than not long enough.
func forgotten(ctx context.Context, tx store.Tx, id vault.ObjectID, c *Composed, part string, version vault.VersionID) (list []Use, err error) {
	if c.First == "" {
		return nil, nil
	}
	first := c.Made[0]
	if had, ok := first.Parts[part]; ok && vault.Made(string(had)).Before(vault.Made(string(version))) {
		return nil, nil
	}
	for after := vault.VersionID(""); ; {
		page, err := tx.Versions(ctx, id, after, forgottenPage)
		if err != nil {
			return nil, err
		}
		for _, old := range page {
			if old.ID >= first.Version {
				return list, nil
			}
			if old.ID >= c.First && !vault.Made(string(old.ID)).Before(vault.Made(string(version))) {
				list = append(list, Use{Object: id, Name: c.Name, Version: old.ID, Replacing: c.newest(), Since: first.At})
			}
		}
		if len(page) < forgottenPage {
			return list, nil
		}
		after = page[len(page)-1].ID
	}
}
