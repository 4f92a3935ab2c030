package arm

import (
	"net/http"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/tenancy"
)

const authenticationFailed fault.Reason = "AuthenticationFailed"

type wireError struct {
	status int
	code   string
}

// wireErrors maps every kind of error to what Resource Manager answers when the reason says nothing better. A test proves that
// every kind is here.
var wireErrors = map[fault.Kind]wireError{
	fault.Internal:        {http.StatusInternalServerError, "InternalServerError"},
	fault.Invalid:         {http.StatusBadRequest, "BadRequest"},
	fault.Unauthenticated: {http.StatusUnauthorized, "InvalidAuthenticationToken"},
	fault.Forbidden:       {http.StatusForbidden, "Forbidden"},
	fault.NotFound:        {http.StatusNotFound, "NotFound"},
	fault.Conflict:        {http.StatusConflict, "ConflictError"},
	fault.Gone:            {http.StatusGone, "Gone"},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, "RequestContentTooLarge"},
	fault.Throttled:       {http.StatusTooManyRequests, "TooManyRequests"},
	fault.Unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailable"},
	fault.Unsupported:     {http.StatusBadRequest, "OperationNotSupported"},
}

// shownReasons are the reasons that clients see as the error's code. Any other reason stays inside.
var shownReasons = map[fault.Reason]bool{
	authenticationFailed: true, authz.AuthorizationFailed: true,
	tenancy.SubscriptionNotFound: true, tenancy.GroupNotFound: true, tenancy.ResourceNotFound: true, tenancy.DeletedVaultNotFound: true,
	tenancy.VaultAlreadyExists: true, "VaultNameNotValid": true, tenancy.InvalidResourceLocation: true, tenancy.InvalidSubscription: true,
	tenancy.InvalidGroupName: true, tenancy.LocationRequired: true, "InvalidTags": true,
	access.RoleAssignmentExists: true, access.RoleAssignmentFixed: true, access.RoleAssignmentNotFound: true, access.RoleDefinitionMissing: true,
	access.RoleDefinitionNameTaken: true, access.RoleDefinitionInUse: true, access.PrincipalNotFound: true, access.PrincipalTypeMismatch: true,
	"InvalidRoleDefinition": true, "RoleDefinitionNotAssignable": true, "ConflictingDuties": true, "ConditionNotSupported": true, "InvalidScope": true,
	"InvalidRoleAssignmentId": true, "InvalidPrincipalId": true, "InvalidAccessPolicy": true,
	"SecretNotFound": true, "KeyNotFound": true, key.KeysNotManaged: true, "ObjectIsDeletedButRecoverable": true, "InvalidFilter": true, "InvalidResourceNamespace": true, "SkuNotSupported": true,
	"MissingApiVersionParameter": true, "InvalidApiVersionParameter": true,
}

// otherReasons are reasons with a status or code of their own.
var otherReasons = map[fault.Reason]wireError{
	door.UnknownMethod:     {http.StatusMethodNotAllowed, "MethodNotAllowed"},
	door.UnknownPath:       {http.StatusNotFound, "InvalidResourceType"},
	tenancy.PurgeProtected: {http.StatusMethodNotAllowed, "MethodNotAllowed"},
	"ExpiredToken":         {http.StatusUnauthorized, "ExpiredAuthenticationToken"},
}

type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func wireOf(e *fault.Error) wireError {
	wire := wireErrors[e.Kind]
	if other, ok := otherReasons[e.Reason]; ok {
		wire = other
	} else if shownReasons[e.Reason] {
		wire.code = string(e.Reason)
	}
	return wire
}

// status is what fail answers with.
func status(e *fault.Error) int { return wireOf(e).status }

func (h *handler) fail(r *door.Request, e *fault.Error) {
	wire := wireOf(e)
	if e.Kind == fault.Unauthenticated {
		h.challenge(r)
	}
	if wire.status == http.StatusMethodNotAllowed && r.Header().Get("Allow") == "" {
		r.Header().Set("Allow", "GET")
	}
	r.RetryAfter(e.RetryAfter)
	r.JSON(wire.status, &errorBody{errorDetail{wire.code, e.Message}})
}
