package acme

import (
	"context"
	"crypto/x509"
	"net/url"
	"slices"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// Begin opens an order and goes as far with it as it can.
func (i *Issuer) Begin(ctx context.Context, r issuer.Request) (issuer.Result, error) {
	if err := issuer.Check(r); err != nil {
		return issuer.Result{}, err
	}
	identifiers, err := identifiersOf(r)
	if err != nil {
		return issuer.Result{}, err
	}
	account, err := i.login(ctx)
	if err != nil {
		return issuer.Result{}, err
	}
	order, err := i.open(ctx, account, r, identifiers)
	if err != nil {
		return issuer.Result{}, i.explain(err, "opening an order for request %s", r.ID)
	}
	return i.step(ctx, account, r, order)
}

// open says which certificate is replaced, if the authority cares (RFC 9773, section 5). That is for the authority's sake: one that has a problem with it is
// asked without, be it that the certificate is another account's, was replaced already, or cannot be found just now. A rate limit is none with the certificate.
func (i *Issuer) open(ctx context.Context, account acme.Account, r issuer.Request, identifiers []acme.Identifier) (acme.Order, error) {
	order := acme.Order{Identifiers: identifiers, Profile: r.Profile}
	if r.Previous != nil && len(r.Previous.AuthorityKeyId) > 0 {
		if directory, err := i.client.GetDirectory(ctx); err == nil && directory.RenewalInfo != "" {
			if id, err := acme.ARIUniqueIdentifier(r.Previous); err == nil {
				replacing := order
				replacing.Replaces = id
				opened, err := i.client.NewOrder(ctx, account, replacing)
				if problem, refused := problemOf(err); !refused || kindOf(problem) == fault.Throttled {
					return opened, err
				}
			}
		}
	}
	return i.client.NewOrder(ctx, account, order)
}

// Poll looks at an order and does what its state wants.
func (i *Issuer) Poll(ctx context.Context, r issuer.Request, token []byte) (issuer.Result, error) {
	if err := issuer.Check(r); err != nil {
		return issuer.Result{}, err
	}
	account, order, err := i.find(ctx, r, token)
	if err != nil {
		return issuer.Result{}, err
	}
	return i.step(ctx, account, r, order)
}

// find reads the order of a token. The token comes back from wherever the caller kept it: it must point to the authority, because what is sent there is signed.
func (i *Issuer) find(ctx context.Context, r issuer.Request, token []byte) (acme.Account, acme.Order, error) {
	at, err := url.Parse(string(token))
	home, err2 := url.Parse(i.config.Directory)
	if err != nil || err2 != nil || len(token) > issuer.MaxToken || at.Scheme != "https" || at.Host != home.Host {
		return acme.Account{}, acme.Order{}, fault.New(fault.NotFound, "the token of request %s names no order at %s: begin again", r.ID, i.config.Directory)
	}
	identifiers, err := identifiersOf(r)
	if err != nil {
		return acme.Account{}, acme.Order{}, err
	}
	account, err := i.login(ctx)
	if err != nil {
		return acme.Account{}, acme.Order{}, err
	}
	order, err := i.client.GetOrder(ctx, account, acme.Order{Location: at.String()})
	if err != nil {
		if problem, ok := problemOf(err); ok && (problem.Status == 404 || problem.Status == 405) {
			err = fault.Wrap(err, fault.NotFound, "the order of request %s is not known at %s: begin again", r.ID, i.config.Directory)
			return acme.Account{}, acme.Order{}, err
		}
		return acme.Account{}, acme.Order{}, i.explain(err, "looking at the order of request %s", r.ID)
	}
	if !sameIdentifiers(order.Identifiers, identifiers) {
		return acme.Account{}, acme.Order{}, fault.New(fault.Invalid, "the order under the token of request %s is for other names: begin again", r.ID)
	}
	return account, order, nil
}

// step does what the order's state wants.
func (i *Issuer) step(ctx context.Context, account acme.Account, r issuer.Request, order acme.Order) (issuer.Result, error) {
	switch order.Status {
	case acme.StatusPending:
		return i.authorize(ctx, account, r, order)
	case acme.StatusReady:
		return i.finalize(ctx, account, r, order)
	case acme.StatusProcessing:
		return pending(order, "The authority is issuing the certificate."), nil
	case acme.StatusValid:
		result, err := i.fetch(ctx, account, r, order)
		if err == nil {
			i.cleanUp(ctx, account, order)
		}
		return result, err
	case acme.StatusInvalid:
		err := i.failure(ctx, account, r, order)
		i.cleanUp(ctx, account, order)
		return issuer.Result{}, err
	default:
		return issuer.Result{}, fault.New(fault.Unavailable, "the order of request %s has the unknown state %q", r.ID, fault.Clip(order.Status))
	}
}

func pending(order acme.Order, detail string) issuer.Result {
	return issuer.Result{Pending: &issuer.Pending{Token: []byte(order.Location), RetryAfter: pollInterval, Detail: detail}}
}

// authorize presents a challenge for each name that has not been proved, and tells the authority to look once all of them can be seen.
func (i *Issuer) authorize(ctx context.Context, account acme.Account, r issuer.Request, order acme.Order) (issuer.Result, error) {
	var open []acme.Challenge
	waiting := ""
	for _, address := range order.Authorizations {
		authorization, err := i.client.GetAuthorization(ctx, account, address)
		if err != nil {
			return issuer.Result{}, i.explain(err, "reading an authorization of request %s", r.ID)
		}
		if authorization.Status != acme.StatusPending {
			continue // an invalid one makes the order invalid, which the next look shows
		}
		challenge, solver, err := i.choose(ctx, r, authorization)
		if err != nil {
			return issuer.Result{}, err
		}
		c := challengeOf(challenge)
		if err := solver.Present(ctx, c); err != nil {
			return issuer.Result{}, i.solving(err, r, c, "presenting")
		}
		ready, err := solver.Ready(ctx, c)
		if err != nil {
			return issuer.Result{}, i.solving(err, r, c, "checking")
		}
		if !ready {
			waiting = c.Name
		}
		if challenge.Status == acme.StatusPending {
			open = append(open, challenge)
		}
	}
	if waiting != "" {
		return pending(order, "The answer to the challenge for "+fault.Clip(waiting)+" cannot be seen yet."), nil
	}
	for _, challenge := range open {
		if _, err := i.client.InitiateChallenge(ctx, account, challenge); err != nil {
			return issuer.Result{}, i.explain(err, "having the authority look at the challenge for %s", fault.Clip(challenge.Identifier.Value))
		}
	}
	return pending(order, "The authority is checking that the names are ours."), nil
}

func (i *Issuer) solving(err error, r issuer.Request, c Challenge, doing string) error {
	kind := fault.Unavailable
	if e := fault.As(err); e != nil {
		kind = e.Kind
		return fault.Wrap(err, kind, "%s the answer to the %s challenge for %s of request %s: %s", doing, c.Type, fault.Clip(c.Name), r.ID, e.Message)
	}
	return fault.Wrap(err, kind, "%s the answer to the %s challenge for %s of request %s failed", doing, c.Type, fault.Clip(c.Name), r.ID)
}

// choose takes the most preferred challenge that can be solved here. A challenge that is under way stays the one.
func (i *Issuer) choose(ctx context.Context, r issuer.Request, authorization acme.Authorization) (acme.Challenge, Solver, error) {
	preference := append(slices.Clone(i.config.Prefer), challengeTypes...)
	rank := func(c acme.Challenge) int {
		if c.Status == acme.StatusProcessing {
			return -1
		}
		return slices.Index(preference, c.Type)
	}
	var best *acme.Challenge
	var offered []string
	var refused error
	for n := range authorization.Challenges {
		c := &authorization.Challenges[n]
		offered = append(offered, fault.Clip(c.Type))
		solver := i.config.Solvers[c.Type]
		if solver == nil || best != nil && rank(*c) >= rank(*best) {
			continue
		}
		if chooser, ok := solver.(Chooser); ok {
			if err := chooser.Solves(ctx, authorization.IdentifierValue()); err != nil {
				refused = err
				continue
			}
		}
		best = c
	}
	if best == nil && refused != nil {
		return acme.Challenge{}, nil, refused
	}
	if best == nil {
		return acme.Challenge{}, nil, fault.New(fault.Invalid, "the authority offers %s for %s of request %s, and none of these can be solved here: set one up",
			strings.Join(offered, ", "), fault.Clip(authorization.IdentifierValue()), r.ID)
	}
	return *best, i.config.Solvers[best.Type], nil
}

// finalize sends the certificate request.
func (i *Issuer) finalize(ctx context.Context, account acme.Account, r issuer.Request, order acme.Order) (issuer.Result, error) {
	finished, err := i.client.FinalizeOrder(ctx, account, order, r.CSR.Raw)
	if finished.Location == "" {
		finished.Location = order.Location
	}
	if err != nil {
		if _, problem := problemOf(err); !problem && finished.Status == acme.StatusProcessing && ctx.Err() == nil {
			return pending(finished, "The authority is issuing the certificate."), nil
		}
		return issuer.Result{}, i.explain(err, "finalizing the order of request %s", r.ID)
	}
	return i.step(ctx, account, r, finished)
}

// fetch downloads the chains and takes the preferred one.
func (i *Issuer) fetch(ctx context.Context, account acme.Account, r issuer.Request, order acme.Order) (issuer.Result, error) {
	offers, err := i.client.GetCertificateChain(ctx, account, order.Certificate)
	if err != nil && len(offers) == 0 {
		return issuer.Result{}, i.explain(err, "downloading the certificate of request %s", r.ID)
	}
	var chosen []*x509.Certificate
	for _, offer := range offers {
		chain, err := parseChain(offer.ChainPEM)
		if err != nil {
			return issuer.Result{}, fault.Wrap(err, fault.Unavailable, "the authority's chain for request %s cannot be read", r.ID)
		}
		if chosen == nil || i.config.PreferredRoot != "" && chain[len(chain)-1].Issuer.CommonName == i.config.PreferredRoot {
			chosen = chain
		}
	}
	if err := issuer.CheckChain(r, chosen); err != nil {
		return issuer.Result{}, err
	}
	return issuer.Result{Chain: chosen}, nil
}

// failure says why an order has come to nothing: its own error, or that of the challenge that failed.
func (i *Issuer) failure(ctx context.Context, account acme.Account, r issuer.Request, order acme.Order) error {
	problem := order.Error
	for _, address := range order.Authorizations {
		authorization, err := i.client.GetAuthorization(ctx, account, address)
		if err != nil {
			continue
		}
		for _, c := range authorization.Challenges {
			if c.Error != nil {
				problem = c.Error
			}
		}
	}
	if problem == nil {
		return fault.New(fault.Conflict, "the order of request %s is invalid, and %s does not say why: begin again", r.ID, i.config.Directory)
	}
	kind := kindOf(*problem)
	if kind == fault.Forbidden && problem.Type == acme.ProblemTypeUnauthorized || kind == fault.Invalid {
		kind = fault.Conflict // it was looked for and not found: the next order may do better
	}
	e := fault.New(kind, "the order of request %s has failed: the authority at %s says: %s; begin again", r.ID, i.config.Directory, describe(*problem))
	e.Err = *problem
	return e
}

// Cancel gives an order up: names that are not proved are let go, and what was presented is taken away.
func (i *Issuer) Cancel(ctx context.Context, r issuer.Request, token []byte) error {
	account, order, err := i.find(ctx, r, token)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	i.cleanUp(ctx, account, order)
	for _, address := range order.Authorizations {
		authorization, err := i.client.GetAuthorization(ctx, account, address)
		if err == nil && authorization.Status == acme.StatusPending {
			_, err = i.client.DeactivateAuthorization(ctx, account, address)
		}
		if err != nil {
			return i.explain(err, "giving up the order of request %s", r.ID)
		}
	}
	return nil
}

// cleanUp takes away what was presented. It is a courtesy: what stays behind proves nothing to anybody else.
func (i *Issuer) cleanUp(ctx context.Context, account acme.Account, order acme.Order) {
	for _, address := range order.Authorizations {
		authorization, err := i.client.GetAuthorization(ctx, account, address)
		if err != nil {
			continue
		}
		for _, c := range authorization.Challenges {
			// An authorization that was used again for a later order has been presented by nobody this time: nothing is there, which is no error.
			if solver := i.config.Solvers[c.Type]; solver != nil {
				_ = solver.CleanUp(ctx, challengeOf(c))
			}
		}
	}
}

// identifiersOf are the names of a request, each once, in a fixed order. ACME certifies DNS names and addresses alone.
func identifiersOf(r issuer.Request) ([]acme.Identifier, error) {
	if len(r.CSR.EmailAddresses)+len(r.CSR.URIs) > 0 {
		return nil, fault.New(fault.Invalid, "request %s has mail addresses or URIs, which ACME does not certify: leave them out, or use another issuer", r.ID)
	}
	var identifiers []acme.Identifier
	for _, name := range r.CSR.DNSNames {
		identifiers = append(identifiers, acme.Identifier{Type: identifierDNS, Value: strings.ToLower(name)})
	}
	for _, ip := range r.CSR.IPAddresses {
		identifiers = append(identifiers, acme.Identifier{Type: identifierIP, Value: ip.String()})
	}
	if len(identifiers) == 0 {
		return nil, fault.New(fault.Invalid, "request %s has no DNS name and no address among its alternative names: ACME needs one", r.ID)
	}
	slices.SortFunc(identifiers, compareIdentifiers)
	return slices.Compact(identifiers), nil
}

func compareIdentifiers(a, b acme.Identifier) int {
	return strings.Compare(a.Type+":"+a.Value, b.Type+":"+b.Value)
}

func sameIdentifiers(theirs, ours []acme.Identifier) bool {
	theirs = slices.Clone(theirs)
	for n := range theirs {
		theirs[n].Value = strings.ToLower(theirs[n].Value)
	}
	slices.SortFunc(theirs, compareIdentifiers)
	return slices.Equal(theirs, ours)
}
