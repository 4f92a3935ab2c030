package cert

import (
	"context"
	"crypto/x509"
	"maps"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Child is a certificate that an authority has signed.
type Child struct {
	Vault  *vault.Vault
	Name   string
	Object vault.ObjectID
	// Old are the versions that do not stand under what is kept and have not ended, the oldest first.
	Old []vault.VersionID
	// New is the current version when that stands under what is kept, and At when it became current.
	New vault.VersionID
	At  time.Time
	// Exports says that consumers take the certificate from the secret, with its key; otherwise the certificate alone.
	Exports bool
	// Problem says why nobody can make it anew by itself.
	Problem string
}

// Below is what authorities have signed that stands under versions that are not kept, and has not ended.
type Below struct {
	Children []Child
	// Others are certificates that were signed for others than certificates of the vault, at most mostOthers of them, and Count is how many there are.
	Others []Other
	Count  int
}

// Other is a certificate that does not belong to the vault, or not any more.
type Other struct {
	Subject, Serial string
	NotAfter        time.Time
}

// mostOthers bounds the certificates of others that are named.
const mostOthers = 100

// Below finds what stands under versions of claimed authorities that are not kept. keep has the version to keep of each authority, by its object.
func (c *Succession) Below(ctx context.Context, keep map[vault.ObjectID]vault.VersionID) (below Below, err error) {
	err = c.s.Store.View(ctx, func(tx store.Tx) error {
		below = Below{}
		by, err := c.signers(ctx, tx, keep)
		if err != nil || len(by.gone) == 0 {
			return err
		}
		m, err := c.s.readMap(ctx, tx, c.v)
		if err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(m.vaults)) {
			if err := c.childrenIn(ctx, tx, m.vaults[id], keep, by, &below); err != nil {
				return err
			}
		}
		return c.others(ctx, tx, by, &below)
	})
	return below, err
}

// childrenIn finds the certificates of one vault that stand under what goes.
func (c *Succession) childrenIn(ctx context.Context, tx store.Tx, v *vault.Vault, keep map[vault.ObjectID]vault.VersionID, by *signers, below *Below) error {
	q := store.ObjectQuery{Vault: v.ID, Kind: vault.Certificate, Limit: childrenAtOnce}
	for {
		page, err := tx.Objects(ctx, q)
		if err != nil {
			return err
		}
		for _, o := range page {
			if _, own := keep[o.ID]; own || o.Deleted != nil || o.Current == "" {
				continue
			}
			ch, err := c.child(ctx, tx, o, by)
			if err != nil {
				return err
			}
			if ch != nil {
				ch.Vault = v
				below.Children = append(below.Children, *ch)
			}
		}
		if len(page) < q.Limit {
			return nil
		}
		q.After = vault.NameKey(page[len(page)-1].Name)
	}
}

// others finds on the records of the authorities what no certificate of the vault accounts for.
func (c *Succession) others(ctx context.Context, tx store.Tx, by *signers, below *Below) error {
	for _, id := range by.ids {
		q := store.LiveQuery{Authority: string(id), EndAfter: c.s.Clock.Now(), Limit: childrenAtOnce}
		for {
			page, err := tx.LiveIssuances(ctx, q)
			if err != nil {
				return err
			}
			for _, i := range page {
				if by.known[vault.VersionID(i.Request)] {
					continue
				}
				if below.Count++; len(below.Others) == mostOthers {
					continue
				}
				leaf, err := x509.ParseCertificate(i.DER)
				if err != nil {
					return fault.Wrap(err, fault.Internal, "the certificate %s on the records of an authority cannot be read", i.Serial)
				}
				below.Others = append(below.Others, Other{Subject: nameOf(leaf), Serial: i.Serial, NotAfter: i.NotAfter})
			}
			if len(page) < q.Limit {
				break
			}
			q.After = page[len(page)-1].Serial
		}
	}
	return nil
}

// nameOf is what people know a certificate by.
func nameOf(c *x509.Certificate) string {
	if len(c.Subject.Names) == 0 && len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.String()
}

// childrenAtOnce is how many certificates are read at a time.
const childrenAtOnce = 256

// signers are the certificates of the authorities that are to go, with the ids of their versions, and of those that are kept. known are the versions of all certificates of the vault
// that were come by.
type signers struct {
	gone, kept []*x509.Certificate
	ids        []vault.VersionID
	known      map[vault.VersionID]bool
}

func (c *Succession) signers(ctx context.Context, tx store.Tx, keep map[vault.ObjectID]vault.VersionID) (*signers, error) {
	by := &signers{known: map[vault.VersionID]bool{}}
	for o, id := range keep {
		versions, err := tx.Versions(ctx, o, "", 0)
		if err != nil {
			return nil, err
		}
		for _, ver := range versions {
			by.known[ver.ID] = true
			f, err := Describe(ver)
			if err != nil {
				return nil, err
			}
			if f.Leaf == nil {
				continue // it was never made
			}
			ca, err := f.Certificate()
			switch {
			case err != nil:
				return nil, err
			case ver.ID == id:
				by.kept = append(by.kept, ca)
			default:
				by.gone, by.ids = append(by.gone, ca), append(by.ids, ver.ID)
			}
		}
	}
	return by, nil
}

// child describes a certificate by what signed its versions; nil when that is nothing that goes.
func (c *Succession) child(ctx context.Context, tx store.Tx, o *vault.Object, by *signers) (*Child, error) {
	versions, err := tx.Versions(ctx, o.ID, "", 0)
	if err != nil {
		return nil, err
	}
	ch := &Child{Name: o.Name, Object: o.ID, Exports: true}
	now := c.s.Clock.Now()
	for _, ver := range versions {
		by.known[ver.ID] = true
		f, err := Describe(ver)
		if err != nil {
			return nil, err
		}
		if f.Leaf == nil || ver.Attributes.Expires.Before(now) {
			continue
		}
		leaf, err := f.Certificate()
		if err != nil {
			return nil, err
		}
		signed := func(ca *x509.Certificate) bool { return signedBy(leaf, ca) }
		switch {
		case slices.ContainsFunc(by.kept, signed) || !slices.ContainsFunc(by.gone, signed):
			if ver.ID == o.Current {
				ch.New, ch.At = ver.ID, ver.Attributes.Updated
			}
		case ver.ID == o.Current && !ver.Attributes.Enabled:
			ch.Old = append(ch.Old, ver.ID)
			ch.Problem = "its current version is disabled: enable it, or delete the certificate"
		default:
			ch.Old = append(ch.Old, ver.ID)
		}
	}
	if len(ch.Old) == 0 {
		return nil, nil
	}
	st, err := stateOf(ctx, tx, o.ID)
	if err != nil {
		return nil, err
	}
	switch p := st.Policy; {
	case p == nil:
		ch.Problem = "it has no policy: set one, and create it anew"
	case p.Issuer.Is(UnknownIssuer):
		ch.Problem = "its issuer is " + UnknownIssuer + ": have it signed anew, and merge it"
	case p.Key.Exportable != nil:
		ch.Exports = *p.Key.Exportable
	}
	return ch, nil
}
