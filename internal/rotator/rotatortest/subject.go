package rotatortest

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// Subject is a rotator with the real system that it changes. Functions that are optional may be nil; their cases are then skipped, loudly.
type Subject struct {
	Rotator rotator.Rotator
	// Endpoints are the system's true addresses, host:port on loopback. The suite puts a Proxy before each. None is for a rotator
	// without a network of its own: the cases that hurt the network are skipped.
	Endpoints []string
	// Target returns a configuration that reaches the endpoints at these addresses, in the order of Endpoints, with the credential of an
	// administrator who may do all that the strategies need.
	Target func(t *testing.T, addresses []string) *rotator.Target
	// Strategies are those that the suite goes through: Single, Dual, Alternating, TwoKey, NKeys and Dynamic are known to it. A subject has
	// either strategies whose values are set, or those whose values the target makes (TwoKey, NKeys): Make is for one kind.
	Strategies []rotator.Strategy
	// Make makes n fresh accounts with equal rights, and returns them with a value that each accepts now. Their names contain HostileName
	// as far as the system allows. With TwoKey and NKeys, the value is in the slot, or has the id, that the credential names. They may go with the system: nobody removes them.
	Make func(t *testing.T, n int) []rotator.Credential
	// Login logs in without the rotator, at one of Endpoints. It reports false only for an explicit refusal.
	Login func(ctx context.Context, endpoint string, c rotator.Credential) (bool, error)
	// Open logs in without the rotator and stays. Optional: for systems that have sessions.
	Open func(t *testing.T, endpoint string, c rotator.Credential) Session
	// Snapshot describes an account at every endpoint apart from its credential: rights, memberships, attributes, tags.
	Snapshot func(t *testing.T, account string) string
	// Settle waits until every endpoint has what the first one has. Optional: for systems with replicas.
	Settle func(ctx context.Context) error
	// Log returns what the system has logged so far, at its most talkative. Optional: for systems that log.
	Log func(t *testing.T) string

	// Absent is the name of an account that does not exist.
	Absent string
	// Powerless returns a true credential of somebody who may not change other accounts. Optional: for targets with administrators.
	Powerless func(t *testing.T) rotator.Credential
	// RefusedValue returns a value that the system's own policy refuses. Optional.
	RefusedValue func(t *testing.T) redact.Bytes
	// LockOut makes the system turn the account away whatever the value, for another reason than the value, until undo. Optional.
	LockOut func(t *testing.T, account string) (undo func())
	// Shadow makes logins of the account become somebody else, who accepts the value, until undo. Optional.
	Shadow func(t *testing.T, c rotator.Credential) (undo func())
	// Unequal takes or gives a right so that the two accounts differ. Optional: for Alternating.
	Unequal func(t *testing.T, accounts []string)
	// Prefix begins the names of the accounts that the Dynamic cases make.
	Prefix string

	// Broken is a configuration with several mistakes; Complaints are words of which the error must hold every one.
	Broken     json.RawMessage
	Complaints []string
	// Exceptions are promises that the system makes impossible, with the reason.
	Exceptions map[Promise]string
}

// Session is a login that stays.
type Session interface {
	// Alive reports whether the session still does its work, by a harmless operation.
	Alive(ctx context.Context) bool
	Close()
}

// Promise is one that a system may make impossible.
type Promise string

// The promises that may have exceptions.
const (
	// SessionsSurvive: Set ends no session.
	SessionsSurvive Promise = "sessions survive a change"
	// DeadlineAtTarget: a request that arrives after the deadline has no effect.
	DeadlineAtTarget Promise = "the target keeps the deadline"
	// NoInterleaving: two changes of one account come out one after the other.
	NoInterleaving Promise = "changes of one account do not interleave"
	// AbsentIsMisconfigured: a change of an account that does not exist is told from other failures.
	AbsentIsMisconfigured Promise = "an absent account is noticed"
)

// HostileName is part of account names in the suite: it breaks quoting by double and single quotes, comments, statements and formats.
const HostileName = `we"ird;-- 'x' \%s`
