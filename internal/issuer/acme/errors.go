package acme

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/keywright/keywright/internal/fault"
)

// throttledFor is the wait after a rate limit, whose length the client library does not pass on. Limits of public authorities are per hour or longer.
const throttledFor = time.Hour

// kinds are what a caller can do about each problem of RFC 8555, section 6.7.
var kinds = map[string]fault.Kind{
	acme.ProblemTypeRateLimited:    fault.Throttled,
	acme.ProblemTypeServerInternal: fault.Unavailable, acme.ProblemTypeBadNonce: fault.Unavailable,
	acme.ProblemTypeUnauthorized: fault.Forbidden, acme.ProblemTypeRejectedIdentifier: fault.Forbidden, acme.ProblemTypeCAA: fault.Forbidden,
	acme.ProblemTypeExternalAccountRequired: fault.Forbidden, acme.ProblemTypeUserActionRequired: fault.Forbidden,
	acme.ProblemTypeAccountDoesNotExist: fault.Unavailable,
	acme.ProblemTypeConnection:          fault.Conflict, acme.ProblemTypeDNS: fault.Conflict, acme.ProblemTypeTLS: fault.Conflict, acme.ProblemTypeIncorrectResponse: fault.Conflict,
}

// problemOf finds the authority's own words in an error of the library, which has them by value or by pointer.
func problemOf(err error) (acme.Problem, bool) {
	var value acme.Problem
	if errors.As(err, &value) {
		return value, true
	}
	var pointer *acme.Problem
	if errors.As(err, &pointer) && pointer != nil {
		return *pointer, true
	}
	return acme.Problem{}, false
}

func is(err error, problem string) bool {
	p, ok := problemOf(err)
	return ok && p.Type == problem
}

// explain gives an error a kind and says what was being done.
func (i *Issuer) explain(err error, format string, args ...any) error {
	doing := fmt.Sprintf(format, args...)
	i.forget(err)
	if p, ok := problemOf(err); ok {
		e := fault.New(kindOf(p), "%s: the authority at %s says: %s", doing, i.config.Directory, describe(p))
		if e.Kind == fault.Throttled {
			e.RetryAfter = throttledFor
		}
		e.Err = err
		return e
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(err, fault.Unavailable, "%s: given up before the authority at %s answered", doing, i.config.Directory)
	}
	return fault.Wrap(err, fault.Unavailable, "%s: the authority at %s cannot be reached, or does not speak ACME", doing, i.config.Directory)
}

func kindOf(p acme.Problem) fault.Kind {
	if kind, ok := kinds[p.Type]; ok {
		return kind
	}
	switch {
	case p.Status == 404:
		return fault.NotFound
	case p.Status == 429:
		return fault.Throttled
	case p.Status >= 500:
		return fault.Unavailable
	case len(p.Subproblems) > 0:
		return kindOf(p.Subproblems[0].Problem)
	default:
		return fault.Invalid
	}
}

// describe is a problem in one line, bounded: it comes from outside.
func describe(p acme.Problem) string {
	texts := []string{fault.Clip(strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace)) + ", " + fault.Clip(p.Detail)}
	for n, sub := range p.Subproblems {
		if n == 5 {
			break
		}
		texts = append(texts, fault.Clip(sub.Identifier.Value)+": "+fault.Clip(sub.Detail))
	}
	return strings.Join(texts, "; ")
}
