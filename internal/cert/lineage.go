package cert

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// lineage is what a certificate that signs others has beside its policy: which of its versions are trusted, and which signs. Nil where there is no trust bundle, and
// nothing changes.
type lineage struct {
	// Bundle is the secret that keeps its trust bundle; "" for an authority without one of its own.
	Bundle string `json:"bundle,omitempty"`
	// Trusted are the versions that belong into trust bundles, the oldest first.
	Trusted []vault.VersionID `json:"trusted,omitempty"`
	// Run is the change of the authority that is under way; "" for none. Issues is the version that signs while it is, whichever is current.
	Run    string          `json:"run,omitempty"`
	Issues vault.VersionID `json:"issues,omitempty"`
}

// trusted are the versions of an authority that belong into trust bundles.
func (st *state) trusted(o *vault.Object) []vault.VersionID {
	if st.Lineage != nil && len(st.Lineage.Trusted) > 0 {
		return slices.Clone(st.Lineage.Trusted)
	}
	if o.Current == "" {
		return nil
	}
	return []vault.VersionID{o.Current}
}

// issues is the version of an authority that signs.
func (st *state) issues(o *vault.Object) vault.VersionID {
	if st.Lineage != nil && st.Lineage.Issues != "" {
		return st.Lineage.Issues
	}
	return o.Current
}

// UnderChange is the reason of the conflict when an authority changes, or may change by that alone.
const UnderChange fault.Reason = "AuthorityChanges"

// refuseSuccessor refuses a new version of an authority that is changed, or has to be changed, with those who trust it in view: it would sign at once, and nobody would
// trust what it signs. The run that changes it may.
func (s *Service) refuseSuccessor(ctx context.Context, tx store.Tx, o *vault.Object, st *state, run string) error {
	l := st.Lineage
	if l == nil || run != "" && l.Run == run {
		return nil
	}
	if l.Run != "" {
		return fault.New(fault.Conflict, "the authority %q is changed by the run %s: wait for its end, or abort it", o.Name, l.Run).Because(UnderChange)
	}
	if l.Bundle == "" {
		return nil
	}
	b, err := tx.Object(ctx, o.Vault, vault.Secret, l.Bundle)
	if fault.Is(err, fault.NotFound) || err == nil && b.Deleted != nil {
		return nil
	}
	if err != nil {
		return err
	}
	return fault.New(fault.Conflict, "the authority %q is trusted by those who read the trust bundle %q, who have to know its successor first: change it with `keywright cert ca change`",
		o.Name, b.Name).Because(UnderChange)
}

// Heir is an authority as a change of it, or of one above it, finds it.
type Heir struct {
	// Vault is where it is: those below an authority may be in other vaults.
	Vault  *vault.Vault
	Name   string
	Object vault.ObjectID
	// Issues is the version that signs, and Trusted are those in trust bundles.
	Issues  vault.VersionID
	Trusted []vault.VersionID
	// Bundle is the secret with its trust bundle, Run the change that is under way; "" for none.
	Bundle, Run string
	// Busy says that an operation on the certificate is in progress.
	Busy bool
	// Issuers are the issuers of the vault that sign with it.
	Issuers []string
	// Names and Subject say what it is called, Subject that of the version that signs.
	Subject string
	// Above is the authority that signs it; "" for a root, or one from outside.
	Above string
}

// Line returns an authority and those below it, in its vault and in others of the tenant, each after the one that signs it. A name that stands for no certificate that signs is a fault.Invalid.
func (s *Service) Line(ctx context.Context, v *vault.Vault, name string) (line []Heir, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		line = nil
		m, err := s.readMap(ctx, tx, v)
		if err != nil {
			return err
		}
		line, err = s.below(ctx, tx, v, m, name)
		return err
	})
	return line, err
}

// place is a certificate or an issuer of a vault, by its name key.
type place struct {
	vault vault.ID
	name  string
}

// authorityMap says who signs for whom in a vault and in those that it signs for, or that sign for it.
type authorityMap struct {
	vaults map[vault.ID]*vault.Vault
	// signer is the certificate with which an issuer signs.
	signer map[place]place
	// issuer is the issuer by which a certificate that signs was asked for.
	issuer map[place]place
}

// maxSpan bounds how many vaults authorities may reach over.
const maxSpan = 200

func (s *Service) readMap(ctx context.Context, tx store.Tx, v *vault.Vault) (*authorityMap, error) {
	m := &authorityMap{vaults: map[vault.ID]*vault.Vault{v.ID: v}, signer: map[place]place{}, issuer: map[place]place{}}
	for todo := []*vault.Vault{v}; len(todo) > 0; todo = todo[1:] {
		more, err := m.read(ctx, tx, todo[0])
		if err != nil {
			return nil, err
		}
		for _, id := range more {
			if m.vaults[id] != nil {
				continue
			}
			other, err := tx.Vault(ctx, id)
			if fault.Is(err, fault.NotFound) || err == nil && (other.Tenant != v.Tenant || other.Deleted != nil) {
				continue // nothing there signs any more
			}
			if err != nil {
				return nil, err
			}
			if len(m.vaults) == maxSpan {
				return nil, fault.New(fault.Unsupported, "the authorities of the vault %q reach over more than %d vaults", v.Name, maxSpan)
			}
			m.vaults[id] = other
			todo = append(todo, other)
		}
	}
	for _, by := range m.signer {
		if m.vaults[by.vault] == nil {
			continue
		}
		o, st, err := s.authorityOf(ctx, tx, m.vaults[by.vault], by.name)
		if fault.Is(err, fault.Invalid) {
			continue // the issuer names a certificate that is gone
		}
		if err != nil {
			return nil, err
		}
		if st.Policy != nil && o.Deleted == nil {
			m.issuer[by] = place{by.vault, vault.NameKey(st.Policy.Issuer.Name)}
		}
	}
	return m, nil
}

// read adds the issuers of one vault, and returns which other vaults belong to it.
func (m *authorityMap) read(ctx context.Context, tx store.Tx, v *vault.Vault) (more []vault.ID, err error) {
	issuers, err := tx.CurrentVersions(ctx, store.ObjectQuery{Vault: v.ID, Kind: vault.Issuer})
	if err != nil {
		return nil, err
	}
	for _, f := range issuers {
		st, err := settingsOf(f.Object, f.Version)
		if err != nil {
			return nil, err
		}
		by := st.Options[AuthorityOption]
		if by == "" {
			continue
		}
		at := cmp.Or(st.AuthorityVault, v.ID)
		m.signer[place{v.ID, vault.NameKey(st.Name)}] = place{at, vault.NameKey(by)}
		more = append(more, at)
	}
	below, err := links(ctx, tx, v.ID)
	return append(more, below...), err
}

// above is the authority that signs another one; zero for none here.
func (m *authorityMap) above(p place) place {
	if up := m.signer[m.issuer[p]]; up != p && m.vaults[up.vault] != nil {
		return up
	}
	return place{}
}

// issuersOf are the name keys of the issuers that sign with a certificate, those of other vaults with the vault's name in front.
func (m *authorityMap) issuersOf(p place) (list []string) {
	for by, signs := range m.signer {
		if signs == p {
			list = append(list, m.text(by, p.vault))
		}
	}
	slices.Sort(list)
	return list
}

// text names a place as seen from a vault.
func (m *authorityMap) text(p place, from vault.ID) string {
	if v := m.vaults[p.vault]; v != nil && p.vault != from {
		return v.Name + "/" + p.name
	}
	return p.name
}

func (s *Service) authorityOf(ctx context.Context, tx store.Tx, v *vault.Vault, name string) (*vault.Object, *state, error) {
	o, err := s.objects.Live(ctx, tx, v.ID, name)
	if fault.Is(err, fault.NotFound) || err == nil && o.Current == "" {
		return nil, nil, fault.New(fault.Invalid, "the vault has no certificate %q that signs others: name the certificate of an authority", fault.Clip(name))
	}
	if err != nil {
		return nil, nil, err
	}
	st, err := stateOf(ctx, tx, o.ID)
	return o, st, err
}

// below lists an authority and those below it, parents first.
func (s *Service) below(ctx context.Context, tx store.Tx, v *vault.Vault, m *authorityMap, name string) (line []Heir, err error) {
	todo, seen := []place{{v.ID, vault.NameKey(name)}}, map[place]bool{}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		if seen[at] {
			continue
		}
		seen[at] = true
		h, err := s.heir(ctx, tx, m, at)
		if err != nil {
			return nil, err
		}
		line = append(line, *h)
		var next []place
		for child := range m.issuer {
			if m.above(child) == at {
				next = append(next, child)
			}
		}
		slices.SortFunc(next, func(a, b place) int {
			return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(string(a.vault), string(b.vault)))
		})
		todo = append(todo, next...)
	}
	return line, nil
}

func (s *Service) heir(ctx context.Context, tx store.Tx, m *authorityMap, at place) (*Heir, error) {
	v := m.vaults[at.vault]
	o, st, err := s.authorityOf(ctx, tx, v, at.name)
	if err != nil {
		return nil, err
	}
	h := &Heir{Vault: v, Name: o.Name, Object: o.ID, Issues: st.issues(o), Trusted: st.trusted(o), Busy: st.running(), Issuers: m.issuersOf(at), Above: m.text(m.above(at), v.ID)}
	if st.Lineage != nil {
		h.Bundle, h.Run = st.Lineage.Bundle, st.Lineage.Run
	}
	own, err := leafOf(ctx, tx, o.ID, h.Issues)
	if err != nil {
		return nil, err
	}
	if !own.IsCA {
		return nil, fault.New(fault.Invalid, "the certificate %q signs no others: name the certificate of an authority", o.Name)
	}
	h.Subject = own.Subject.String()
	return h, nil
}

// leafOf reads the certificate of a version.
func leafOf(ctx context.Context, tx store.Tx, o vault.ObjectID, id vault.VersionID) (*x509.Certificate, error) {
	f, err := factsIn(ctx, tx, o, id)
	if err != nil {
		return nil, err
	}
	return f.Certificate()
}

func factsIn(ctx context.Context, tx store.Tx, o vault.ObjectID, id vault.VersionID) (*Facts, error) {
	ver, err := tx.Version(ctx, o, id)
	if err != nil {
		return nil, err
	}
	return Describe(ver)
}

// Anchors are what those who trust an authority have to trust: the certificates of its trusted versions with those above them, and the trusted versions of the
// authorities above it, each once and the newest first. Versions in without are left out, and so is all that is above nothing else.
func (s *Service) Anchors(ctx context.Context, v *vault.Vault, name string, without map[vault.VersionID]bool) (anchors []*x509.Certificate, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		anchors = nil
		m, err := s.readMap(ctx, tx, v)
		if err != nil {
			return err
		}
		seen := map[place]bool{}
		for at := (place{v.ID, vault.NameKey(name)}); at.name != "" && !seen[at]; at = m.above(at) {
			seen[at] = true
			o, st, err := s.authorityOf(ctx, tx, m.vaults[at.vault], at.name)
			if err != nil {
				return err
			}
			trusted := st.trusted(o)
			for _, id := range slices.Backward(trusted) {
				if without[id] {
					continue
				}
				f, err := factsIn(ctx, tx, o.ID, id)
				if err != nil {
					return err
				}
				chain, err := upwards(f)
				if err != nil {
					return err
				}
				for _, c := range chain {
					if !slices.ContainsFunc(anchors, func(k *x509.Certificate) bool { return bytes.Equal(k.Raw, c.Raw) }) {
						anchors = append(anchors, c)
					}
				}
			}
		}
		return nil
	})
	return anchors, err
}

// signedBy reports whether an authority's certificate signed another. Where both name keys, those tell (RFC 5280, section 4.2.1.1): thousands of signatures are not verified again.
func signedBy(c, by *x509.Certificate) bool {
	if !bytes.Equal(c.RawIssuer, by.RawSubject) {
		return false
	}
	if len(c.AuthorityKeyId) > 0 && len(by.SubjectKeyId) > 0 {
		return bytes.Equal(c.AuthorityKeyId, by.SubjectKeyId)
	}
	return c.CheckSignatureFrom(by) == nil
}
