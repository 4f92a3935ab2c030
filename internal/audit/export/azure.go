package export

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/audit"
)

// ResourceID returns the ARM id of the vault that a record is about, or "" when there is none. An error ends the export.
type ResourceID func(*audit.Record) (string, error)

// The claim names of an AuditEvent's identity.
const (
	claimObjectID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
	claimUPN      = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"
)

// azureTime is ISO 8601 in UTC with the seven digits that the service writes.
const azureTime = "2006-01-02T15:04:05.0000000Z"

// azureEvent is one element of an AuditEvent log, in the order of the service's documentation.
type azureEvent struct {
	Time              string          `json:"time"`
	ResourceID        string          `json:"resourceId"`
	OperationName     string          `json:"operationName"`
	OperationVersion  string          `json:"operationVersion,omitempty"`
	Category          string          `json:"category"`
	ResultType        string          `json:"resultType"`
	ResultSignature   string          `json:"resultSignature"`
	ResultDescription string          `json:"resultDescription"`
	DurationMs        string          `json:"durationMs"`
	CallerIPAddress   string          `json:"callerIpAddress,omitempty"`
	CorrelationID     string          `json:"correlationId,omitempty"`
	Identity          azureIdentity   `json:"identity"`
	Properties        azureProperties `json:"properties"`
}

type azureIdentity struct {
	Claim map[string]string `json:"claim"`
}

type azureProperties struct {
	ClientInfo     string `json:"clientInfo,omitempty"`
	RequestURI     string `json:"requestUri,omitempty"`
	ID             string `json:"id,omitempty"`
	HTTPStatusCode uint16 `json:"httpStatusCode"`
	Count          uint64 `json:"count,omitempty"`
}

// Azure writes the records as one AuditEvent document, {"records":[…]}. An error of the sequence ends it.
func Azure(w io.Writer, records iter.Seq2[*audit.Record, error], resource ResourceID) error {
	separator := `{"records":[`
	for r, err := range records {
		if err != nil {
			return err
		}
		id, err := resource(r)
		if err != nil {
			return err
		}
		b, err := json.Marshal(azure(r, id))
		if err != nil {
			return fmt.Errorf("encoding audit record %d: %w", r.Index, err)
		}
		if _, err := fmt.Fprintf(w, "%s\n%s", separator, b); err != nil {
			return err
		}
		separator = ","
	}
	if separator != "," {
		_, err := io.WriteString(w, `{"records":[]}`+"\n")
		return err
	}
	_, err := io.WriteString(w, "\n]}\n")
	return err
}

func azure(r *audit.Record, resource string) azureEvent {
	id := strings.ToUpper(resource)
	if id == "" {
		id = strings.ToUpper(r.Scope)
	}
	if id == "" && r.VaultName != "" {
		id = "/VAULTS/" + strings.ToUpper(r.VaultName)
	}
	claims := map[string]string{}
	for name, value := range map[string]string{claimObjectID: r.Caller.PrincipalID, claimUPN: r.Caller.UPN, "appid": r.Caller.AppID} {
		if value != "" {
			claims[name] = value
		}
	}
	e := azureEvent{Time: r.Time.UTC().Format(azureTime), ResourceID: id, OperationName: operation(r),
		OperationVersion: r.APIVersion, Category: "AuditEvent", ResultType: "Success", ResultSignature: signature(r),
		ResultDescription: cmp.Or(r.Reason, r.Detail), DurationMs: strconv.FormatInt(r.Duration.Milliseconds(), 10),
		CallerIPAddress: address(r), CorrelationID: r.CorrelationID, Identity: azureIdentity{claims},
		Properties: azureProperties{ClientInfo: r.UserAgent, RequestURI: r.Path, ID: objectID(r),
			HTTPStatusCode: r.Status, Count: counted(r)}}
	switch r.Outcome {
	case audit.Allowed:
	case audit.Unknown:
		e.ResultType = "Unknown"
	default:
		e.ResultType = "Failed"
	}
	return e
}

// operation is the endpoint's name, in the words of Key Vault's own log; a record without one tells its action.
func operation(r *audit.Record) string {
	if r.Operation != "" {
		return r.Operation
	}
	return r.Action
}

// signature is the HTTP status in words, as the service writes it.
func signature(r *audit.Record) string {
	if text := http.StatusText(int(r.Status)); text != "" {
		return text
	}
	if r.Status == 0 {
		return ""
	}
	return strconv.Itoa(int(r.Status))
}

// objectURI names the object as a path; the host depends on the door's configuration.
func objectURI(r *audit.Record) string {
	if r.ObjectKind == "" || r.ObjectName == "" {
		return ""
	}
	uri := "/" + r.ObjectKind + "s/" + r.ObjectName
	if r.Version != "" {
		uri += "/" + r.Version
	}
	return uri
}

// objectID is the object's URI, absolute when the request's is.
func objectID(r *audit.Record) string {
	uri := objectURI(r)
	if u, err := url.Parse(r.Path); err == nil && u.Host != "" && uri != "" {
		return u.Scheme + "://" + u.Host + uri
	}
	return uri
}

// address is the caller's address, or its network.
func address(r *audit.Record) string {
	if !r.ClientAddress.IsValid() {
		return ""
	}
	if r.ClientBits > 0 {
		return r.ClientAddress.String() + "/" + strconv.Itoa(int(r.ClientBits))
	}
	return r.ClientAddress.String()
}

// counted is how many decisions an aggregated record stands for, or 0.
func counted(r *audit.Record) uint64 {
	if r.Count > 1 {
		return r.Count
	}
	return 0
}
