package identity

import "github.com/keywright/keywright/internal/fault"

// The reasons for which a token is not believed. The codes are those that Key Vault puts in front of its messages.
const (
	NoToken        fault.Reason = "AKV10000"
	MalformedToken fault.Reason = "AKV10001"
	BadSignature   fault.Reason = "AKV10005"
	WrongAudience  fault.Reason = "AKV10022"
	WrongIssuer    fault.Reason = "AKV10032"
	UnknownKey     fault.Reason = "AKV10046"
	// StaleToken: expired, not yet valid, or revoked. Key Vault shows no code of its own for these.
	StaleToken fault.Reason = "AKV10015"
)

// The reasons for which a token is not issued. A door translates them to the codes of its protocol.
const (
	UnknownTenant        fault.Reason = "UnknownTenant"
	UnknownClient        fault.Reason = "UnknownClient"
	UnknownUser          fault.Reason = "UnknownUser"
	UnknownResource      fault.Reason = "UnknownResource"
	UnknownIdentity      fault.Reason = "UnknownIdentity"
	WrongSecret          fault.Reason = "WrongSecret"
	ExpiredSecret        fault.Reason = "ExpiredSecret"
	WrongAssertion       fault.Reason = "WrongAssertion"
	ExpiredAssertion     fault.Reason = "ExpiredAssertion"
	ReplayedAssertion    fault.Reason = "ReplayedAssertion"
	UntrustedIssuer      fault.Reason = "UntrustedIssuer"
	UnreachableIssuer    fault.Reason = "UnreachableIssuer"
	DisabledPrincipal    fault.Reason = "DisabledPrincipal"
	WrongPassword        fault.Reason = "WrongPassword"
	MissingCredential    fault.Reason = "MissingCredential"
	AuthorizationPending fault.Reason = "AuthorizationPending"
	SlowDown             fault.Reason = "SlowDown"
	CodeDeclined         fault.Reason = "CodeDeclined"
	CodeExpired          fault.Reason = "CodeExpired"
	WrongCode            fault.Reason = "WrongCode"
	WrongGrant           fault.Reason = "WrongGrant"
	ReusedGrant          fault.Reason = "ReusedGrant"
	TooManyAttempts      fault.Reason = "TooManyAttempts"
	WrongRequest         fault.Reason = "WrongRequest"
	WrongEnrolment       fault.Reason = "WrongEnrolment"
)

func unauthenticated(reason fault.Reason, format string, args ...any) *fault.Error {
	return fault.New(fault.Unauthenticated, format, args...).Because(reason)
}

func invalid(reason fault.Reason, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, format, args...).Because(reason)
}
