package identity

import "github.com/keywright/keywright/internal/store"

// Changed takes back what was remembered about whoever a commit changed. It is quick and calls no store, so that it can
// watch commits (store.Store.Watch); once it returned, a revoked token is refused.
//
// What a commit does not name here cannot make a remembered answer wrong: grants and policies are judged elsewhere.
func (s *Service) Changed(c *store.Commit) {
	var ids []string
	for _, ch := range c.Changes {
		switch ch.Kind {
		case store.TenantChanged:
			ids = append(ids, string(ch.Tenant), ch.Key)
			s.rings.forget(ch.Tenant)
		case store.SigningChanged:
			ids = append(ids, string(ch.Tenant))
			s.rings.forget(ch.Tenant)
		case store.PrincipalChanged, store.MemberChanged:
			ids = append(ids, ch.Key)
		case store.IssuerChanged:
			s.issuers.forget(ch.Tenant)
			// Tokens that were had by the issuer's assertions are looked up again.
			ids = append(ids, string(ch.Tenant))
		}
	}
	if len(ids) > 0 {
		s.cache.revoke(ids)
	}
}

// Flush takes back everything that was remembered: for a node that may have missed commits.
func (s *Service) Flush() {
	s.rings.flush()
	s.issuers.flush()
	s.cache.flush()
}

// Remembered returns how many verified tokens are held, for metrics.
func (s *Service) Remembered() int { return s.cache.size() }
