package azure

import (
	"net/http"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

type wireError struct {
	status int
	code   string
}

// wireErrors maps every kind of error to what Key Vault answers. A test proves that every kind is here.
var wireErrors = map[fault.Kind]wireError{
	fault.Internal:        {http.StatusInternalServerError, "InternalServerError"},
	fault.Invalid:         {http.StatusBadRequest, "BadParameter"},
	fault.Unauthenticated: {http.StatusUnauthorized, "Unauthorized"},
	fault.Forbidden:       {http.StatusForbidden, "Forbidden"},
	fault.NotFound:        {http.StatusNotFound, "NotFound"},
	fault.Conflict:        {http.StatusConflict, "Conflict"},
	fault.Gone:            {http.StatusGone, "Gone"},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, "RequestEntityTooLarge"},
	fault.Throttled:       {http.StatusTooManyRequests, "Throttled"},
	fault.Unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailable"},
	fault.Unsupported:     {http.StatusNotImplemented, "NotImplemented"},
}

// outerReasons are the reasons that Key Vault shows as the error's own code instead of as an inner one.
var outerReasons = map[fault.Reason]bool{
	"SecretNotFound": true, "KeyNotFound": true, "CertificateNotFound": true, "PendingCertificateNotFound": true,
	"CertificateIssuerNotFound": true, "ContactsNotFound": true, "CertificatePolicyNotFound": true,
	access.RoleAssignmentNotFound: true, access.RoleAssignmentExists: true, access.RoleAssignmentFixed: true, access.RoleDefinitionNameTaken: true,
	access.RoleDefinitionInUse: true, access.PrincipalNotFound: true, "RoleDefinitionNotAssignable": true, "InvalidRoleDefinition": true, "ConflictingDuties": true,
	"InvalidFilter": true, "InvalidScope": true,
}

// innerReasons are the reasons that Key Vault shows as innererror.code. Any other reason stays inside.
var innerReasons = map[fault.Reason]bool{
	"ForbiddenByRbac": true, "ForbiddenByPolicy": true, "AccessDenied": true, "ForbiddenByFirewall": true, "ForbiddenByConnection": true,
	"SecretDisabled": true, "KeyDisabled": true, "CertificateDisabled": true,
	"KeyNotYetValid": true, "KeyExpired": true, "KeyOperationForbidden": true,
	"ObjectIsDeletedButRecoverable": true, "ObjectIsBeingDeleted": true, "ObjectIsBeingRecovered": true, "ObjectAlreadyExists": true,
}

type errorBody struct {
	Error struct {
		Code    string      `json:"code"`
		Message string      `json:"message"`
		Inner   *innerError `json:"innererror,omitempty"`
	} `json:"error"`
}

type innerError struct {
	Code string `json:"code"`
}

// status is what fail answers with.
func status(e *fault.Error) int {
	if e.Reason == door.UnknownMethod {
		return http.StatusMethodNotAllowed
	}
	return wireErrors[e.Kind].status
}

func fail(r *door.Request, e *fault.Error) {
	body := errorOf(e)
	r.RetryAfter(e.RetryAfter)
	r.JSON(status(e), &body)
}

// errorOf is an error as clients see it.
func errorOf(e *fault.Error) errorBody {
	wire := wireErrors[e.Kind]
	var body errorBody
	body.Error.Code, body.Error.Message = wire.code, e.Message
	switch {
	case e.Reason == access.RoleDefinitionMissing:
		body.Error.Code = "RoleDefinitionNotFound" // so a vault says it; Resource Manager has a word of its own
	case outerReasons[e.Reason]:
		body.Error.Code = string(e.Reason)
	case innerReasons[e.Reason]:
		body.Error.Inner = &innerError{string(e.Reason)}
	case e.Reason == door.UnknownMethod:
		body.Error.Code = "MethodNotAllowed"
	case e.Reason == cert.InProgressReason:
		body.Error.Code = "Forbidden" // with the status 409: so the service answers while an operation is in progress
	}
	return body
}
