package endpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// observation is one look at an endpoint: as it was stored, and as it is to be stored.
type observation struct {
	before, after *Endpoint
	want          *expected
	// tells is the event that tells of it; empty for none.
	tells string
}

// observe looks at an endpoint and judges what is there. Nothing is stored yet.
func (s *Service) observe(ctx context.Context, e *Endpoint) (*observation, error) {
	want, err := s.expect(ctx, e)
	if err != nil {
		return nil, err
	}
	seen, lookup := s.look(ctx, &e.Spec)
	if err := ctx.Err(); err != nil {
		return nil, err // the program ends, or the caller went away: nothing is known
	}
	now := clock.Micro(s.Clock.Now())
	next := *e
	next.Checked, next.Expected = now, want.current
	if lookup != nil {
		next.Lookups, next.LookupError = e.Lookups+1, why(lookup)
		next.Sights = failed(e.Sights, next.LookupError)
	} else {
		next.Lookups, next.LookupError = 0, ""
		next.Sights = s.sights(&next, want, seen, now)
	}
	next.Alarms = judge(&next, want, now)
	tells := next.tells(e.Alarms, now)
	next.NextAt = now.Add(s.pause(&next))
	if t := next.Task; t != nil && t.Next().After(now) && t.Next().Before(next.NextAt) {
		next.NextAt = t.Next()
	}
	return &observation{e, &next, want, tells}, nil
}

// tells notes who has to hear of alarms that were judged anew, and says by which event: the worst that is due.
func (e *Endpoint) tells(before []Alarm, now time.Time) (event string) {
	risen, again, clear := news(before, e.Alarms, now)
	e.attend(risen, now)
	if e.Task == nil {
		if clear {
			return EndpointClear
		}
		return ""
	}
	switch reminds, escalates := e.Task.Take(now); {
	case escalates && e.Team != "":
		event = EndpointEscalated
	case risen, again && e.Task.Acknowledged.IsZero():
		event = EndpointAlarm
	case reminds:
		event = EndpointReminder
	default:
		return ""
	}
	told(e.Alarms, now)
	return event
}

// failed keeps what was known of addresses that cannot be found any more.
func failed(list []Sight, reason string) []Sight {
	list = slices.Clone(list)
	for i := range list {
		list[i].Failures, list[i].Error = list[i].Failures+1, reason
	}
	return list
}

// sights joins what was seen now with what is known from before.
func (s *Service) sights(e *Endpoint, want *expected, seen []sighting, now time.Time) (list []Sight) {
	roots := s.roots(&e.Spec)
	for _, look := range seen {
		sight := Sight{Address: look.address.String()}
		if look.err != nil {
			if i := slices.IndexFunc(e.Sights, func(b Sight) bool { return b.Address == sight.Address }); i >= 0 {
				sight = e.Sights[i]
			}
			sight.Failures, sight.Error = sight.Failures+1, why(look.err)
			list = append(list, sight)
			continue
		}
		sight.At, sight.Leaf = now, leafOf(look.chain[0])
		k := want.of(&sight.Leaf)
		sight.Version = k.id
		sight.Problems = inspect(&e.Spec, roots, k.chain, look.chain, now)
		list = append(list, sight)
	}
	return list
}

// retryFirst is after how long an address that did not answer is tried again; each further pause is twice as long.
const retryFirst = time.Minute

// pause is how long until the next look: sooner while something does not answer or a renewed certificate is not served, and spread a little, so that endpoints which were
// registered together do not stay so.
func (s *Service) pause(e *Endpoint) time.Duration {
	pause := e.Every
	if i := slices.IndexFunc(e.Alarms, func(a Alarm) bool { return a.Kind == Outdated }); i >= 0 {
		pause = min(pause, max(retryFirst, e.Checked.Sub(e.Alarms[i].Since))) // each pause is as long as all before it
	}
	fewest := e.Lookups
	for _, sight := range e.Sights {
		if n := sight.Failures; n > 0 && (fewest == 0 || n < fewest) {
			fewest = n
		}
	}
	if fewest > 0 {
		pause = min(pause, retryFirst<<min(fewest-1, 10))
	}
	return pause + s.Jitter(pause/10)
}

// maxVersions bounds how many versions before the current one are known again.
const maxVersions = 20

// expect reads what the vault has of an endpoint's certificate. Without one, or while it is deleted or not made yet, nothing is expected.
func (s *Service) expect(ctx context.Context, e *Endpoint) (want *expected, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		want = &expected{versions: map[string]known{}}
		if e.Certificate == "" {
			return nil
		}
		o, err := tx.Object(ctx, e.Vault, vault.Certificate, e.Certificate)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil || o.Deleted != nil || o.Current == "" {
			return err
		}
		return want.read(ctx, tx, o)
	})
	return want, err
}

// read reads the current version of a certificate, and those before it.
func (e *expected) read(ctx context.Context, tx store.Tx, o *vault.Object) error {
	id := o.Current
	for range maxVersions {
		ver, err := tx.Version(ctx, o.ID, id)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if id == o.Current {
			e.current = id
			if e.renewAt, err = cert.RenewsAt(ctx, tx, o.ID, ver); err != nil {
				return err
			}
		}
		facts, err := cert.Describe(ver)
		if err != nil {
			return err
		}
		if facts.Leaf != nil {
			chain, err := facts.Certificates()
			if err != nil {
				return err
			}
			sum := sha256.Sum256(facts.Leaf)
			e.versions[hex.EncodeToString(sum[:])] = known{id, chain}
		}
		if id = ver.Previous; id == "" {
			return nil
		}
	}
	return nil
}

// keep stores what was seen, and tells of it what is to be told, in one transaction.
func (s *Service) keep(ctx context.Context, tx store.Tx, v *vault.Vault, o *observation, op store.Op) error {
	row, err := o.after.row()
	if err != nil {
		return err
	}
	if err := tx.PutEndpoint(ctx, row); err != nil {
		return err
	}
	if o.tells == "" {
		return nil
	}
	return s.tell(ctx, tx, v, o.after, o.tells, op)
}

// testify lets the ledger know which versions of the certificate are presented, over all of its endpoints. A version that this endpoint does not present any more is
// told of too. It is evidence alone: when it is lost, the next look brings it again.
func (s *Service) testify(ctx context.Context, o *observation) {
	if s.Evidence == nil || o.want.current == "" {
		return
	}
	versions := map[vault.VersionID]bool{}
	for _, e := range []*Endpoint{o.before, o.after} {
		for _, sight := range e.Sights {
			versions[sight.Version] = true
		}
	}
	delete(versions, "")
	for id := range versions {
		p := Presented{Tenant: o.after.Tenant, Vault: o.after.Vault, Name: o.after.Certificate, Version: id, At: o.after.Checked}
		var err error
		if p.Addresses, err = s.where(ctx, o.after.Vault, o.after.Certificate, id); err == nil {
			err = s.Evidence.Seen(ctx, p)
		}
		if err != nil {
			s.Logger.WarnContext(ctx, "what an endpoint presents could not be told to the ledger; the next look tells it again", "endpoint", o.after.Name, "error", err)
		}
	}
}

// where lists the addresses that present a version, as far as the endpoints of the certificate were seen.
func (s *Service) where(ctx context.Context, v vault.ID, certificate string, version vault.VersionID) (list []netip.Addr, err error) {
	all, err := s.Of(ctx, v, certificate)
	for _, e := range all {
		for _, sight := range e.Sights {
			if sight.Version != version {
				continue
			}
			at, err := netip.ParseAddrPort(sight.Address)
			if err != nil {
				return nil, err
			}
			list = append(list, at.Addr())
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list), err
}

// Of returns all endpoints of a certificate, for those who have to know what is presented before they end a version. It asks nobody whether the caller may.
func (s *Service) Of(ctx context.Context, v vault.ID, certificate string) (list []*Endpoint, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		rows, err := tx.Endpoints(ctx, store.EndpointQuery{Vault: v, Certificate: vault.NameKey(certificate)})
		for _, row := range rows {
			e, err := Read(row)
			if err != nil {
				return err
			}
			list = append(list, e)
		}
		return err
	})
	return list, err
}
