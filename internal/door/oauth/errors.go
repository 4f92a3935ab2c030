package oauth

import (
	"fmt"
	"net/http"
	"time"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
)

// wireError is how an error looks outside: status, the error code of RFC 6749, section 5.2 (or RFC 8628, section 3.5), and
// the number that Microsoft Entra ID gives it.
type wireError struct {
	status int
	code   string
	number int
}

// reasonErrors are the reasons that have an answer of their own.
var reasonErrors = map[fault.Reason]wireError{
	identity.UnknownTenant:        {400, "invalid_request", 90002},
	identity.UnknownClient:        {400, "unauthorized_client", 700016},
	identity.UnknownUser:          {400, "invalid_grant", 50034},
	identity.UnknownResource:      {400, "invalid_resource", 500011},
	identity.UnknownIdentity:      {400, "invalid_request", 700016},
	identity.WrongSecret:          {401, "invalid_client", 7000215},
	identity.ExpiredSecret:        {401, "invalid_client", 7000222},
	identity.MissingCredential:    {401, "invalid_client", 7000216},
	identity.WrongAssertion:       {401, "invalid_client", 700027},
	identity.ExpiredAssertion:     {401, "invalid_client", 700024},
	identity.ReplayedAssertion:    {401, "invalid_client", 700027},
	identity.UntrustedIssuer:      {401, "invalid_client", 700211},
	identity.UnreachableIssuer:    {503, "temporarily_unavailable", 90033},
	identity.DisabledPrincipal:    {400, "unauthorized_client", 7000112},
	identity.WrongPassword:        {400, "invalid_grant", 50126},
	identity.AuthorizationPending: {400, "authorization_pending", 70016},
	identity.SlowDown:             {400, "slow_down", 70016},
	identity.CodeDeclined:         {400, "access_denied", 65004},
	identity.CodeExpired:          {400, "expired_token", 70020},
	identity.WrongCode:            {400, "invalid_grant", 70000},
	identity.WrongGrant:           {400, "invalid_grant", 70043},
	identity.ReusedGrant:          {400, "invalid_grant", 70000},
	identity.TooManyAttempts:      {429, "temporarily_unavailable", 50053},
	identity.WrongRequest:         {400, "invalid_request", 900144},
	identity.WrongEnrolment:       {400, "invalid_grant", 70000},
	unsupportedGrant:              {400, "unsupported_grant_type", 70003},
	door.UnknownPath:              {404, "invalid_request", 900561},
	door.UnknownMethod:            {405, "invalid_request", 900561},
}

// kindErrors answer for the reasons that have none. A test proves that every kind is here.
var kindErrors = map[fault.Kind]wireError{
	fault.Internal:        {500, "server_error", 90020},
	fault.Invalid:         {400, "invalid_request", 90014},
	fault.Unauthenticated: {401, "invalid_client", 70002},
	fault.Forbidden:       {403, "access_denied", 65005},
	fault.NotFound:        {404, "invalid_request", 900561},
	fault.Conflict:        {409, "invalid_request", 90014},
	fault.Gone:            {410, "invalid_request", 90014},
	fault.TooLarge:        {413, "invalid_request", 90014},
	fault.Throttled:       {429, "temporarily_unavailable", 90055},
	fault.Unavailable:     {503, "temporarily_unavailable", 90033},
	fault.Unsupported:     {501, "unsupported_response_type", 700051},
}

// errorReply is the error body of Microsoft Entra ID.
type errorReply struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
}

func wireOf(e *fault.Error) wireError {
	if w, ok := reasonErrors[e.Reason]; ok {
		return w
	}
	return kindErrors[e.Kind]
}

func (h *handler) fail(r *door.Request, e *fault.Error) {
	w := wireOf(e)
	r.RetryAfter(e.RetryAfter)
	if w.status == http.StatusUnauthorized {
		// RFC 6749, section 5.2: a client that failed to prove itself is told how it may.
		r.Header()["Www-Authenticate"] = []string{`Basic realm="keywright"`}
	}
	r.JSON(w.status, newErrorReply(r, w, e, h.Clock.Now()))
}

func newErrorReply(r *door.Request, w wireError, e *fault.Error, now time.Time) errorReply {
	out := errorReply{Error: w.code, Codes: []int{w.number}, Timestamp: now.UTC().Format("2006-01-02 15:04:05Z"),
		TraceID: r.Call.Correlation, CorrelationID: r.Call.ClientRequest}
	if out.CorrelationID == "" {
		out.CorrelationID = r.Call.Correlation
	}
	out.Description = fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", w.number, e.Message, out.TraceID,
		out.CorrelationID, out.Timestamp)
	return out
}
