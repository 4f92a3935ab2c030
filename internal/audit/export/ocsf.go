package export

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/keywright/keywright/internal/audit"
)

// The numbers of OCSF 1.3.0, class API Activity (https://schema.ocsf.io/1.3.0/classes/api_activity).
const (
	ocsfVersion  = "1.3.0"
	ocsfCategory = 6    // Application Activity
	ocsfClass    = 6003 // API Activity

	ocsfCreate, ocsfRead, ocsfUpdate, ocsfDelete, ocsfOther = 1, 2, 3, 4, 99
	ocsfUnknown, ocsfSuccess, ocsfFailure                   = 0, 1, 2
	ocsfInformational, ocsfLow, ocsfMedium                  = 1, 2, 3
)

type ocsfEvent struct {
	ActivityID   int            `json:"activity_id"`
	CategoryUID  int            `json:"category_uid"`
	ClassUID     int            `json:"class_uid"`
	TypeUID      int            `json:"type_uid"`
	Time         int64          `json:"time"` // milliseconds
	SeverityID   int            `json:"severity_id"`
	StatusID     int            `json:"status_id"`
	StatusCode   string         `json:"status_code,omitempty"`
	StatusDetail string         `json:"status_detail,omitempty"`
	Duration     int64          `json:"duration,omitempty"` // milliseconds
	Count        uint64         `json:"count,omitempty"`
	Metadata     ocsfMetadata   `json:"metadata"`
	API          ocsfAPI        `json:"api"`
	Actor        ocsfActor      `json:"actor"`
	SrcEndpoint  ocsfEndpoint   `json:"src_endpoint"`
	HTTPRequest  *ocsfHTTP      `json:"http_request,omitempty"`
	Resources    []ocsfResource `json:"resources,omitempty"`
}

type ocsfMetadata struct {
	Version        string      `json:"version"`
	UID            string      `json:"uid"`
	CorrelationUID string      `json:"correlation_uid,omitempty"`
	TenantUID      string      `json:"tenant_uid,omitempty"`
	Sequence       int64       `json:"sequence"`
	Product        ocsfProduct `json:"product"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
}

type ocsfAPI struct {
	Operation string      `json:"operation"`
	Version   string      `json:"version,omitempty"`
	Service   ocsfService `json:"service"`
	Request   ocsfUID     `json:"request"`
	Response  ocsfCode    `json:"response"`
}

type ocsfService struct {
	Name string `json:"name"`
}

type ocsfUID struct {
	UID string `json:"uid"`
}

type ocsfCode struct {
	Code  uint16 `json:"code"`
	Error string `json:"error,omitempty"`
}

type ocsfActor struct {
	User   *ocsfUser `json:"user,omitempty"`
	AppUID string    `json:"app_uid,omitempty"`
}

type ocsfUser struct {
	UID  string `json:"uid,omitempty"`
	Name string `json:"name,omitempty"`
	Type string `json:"type,omitempty"`
}

type ocsfEndpoint struct {
	IP       string `json:"ip,omitempty"`
	SubnetIP string `json:"subnet_uid,omitempty"`
	Name     string `json:"instance_uid,omitempty"`
}

type ocsfHTTP struct {
	UserAgent string   `json:"user_agent,omitempty"`
	URL       *ocsfURL `json:"url,omitempty"`
}

type ocsfURL struct {
	Path string `json:"path"`
}

type ocsfResource struct {
	UID  string `json:"uid,omitempty"`
	Name string `json:"name,omitempty"`
	Type string `json:"type"`
}

// AppendOCSF appends the record as one line of JSON, an OCSF 1.3 API Activity event, without a line feed.
func AppendOCSF(dst []byte, r *audit.Record) ([]byte, error) {
	b, err := json.Marshal(ocsf(r))
	if err != nil {
		return dst, fmt.Errorf("encoding audit record %d: %w", r.Index, err)
	}
	return append(dst, b...), nil
}

func ocsf(r *audit.Record) ocsfEvent {
	activity := activity(operation(r))
	e := ocsfEvent{ActivityID: activity, CategoryUID: ocsfCategory, ClassUID: ocsfClass, TypeUID: ocsfClass*100 + activity,
		Time: r.Time.UnixMilli(), SeverityID: ocsfInformational, StatusID: ocsfSuccess, StatusDetail: r.Reason,
		Duration: r.Duration.Milliseconds(), Count: counted(r),
		Metadata: ocsfMetadata{Version: ocsfVersion, UID: r.ID.String(), CorrelationUID: r.CorrelationID, TenantUID: r.Tenant,
			Sequence: r.Index, Product: ocsfProduct{product, vendor}},
		API: ocsfAPI{Operation: operation(r), Version: r.APIVersion, Service: ocsfService{r.Door},
			Request: ocsfUID{r.ClientRequestID}, Response: ocsfCode{Code: r.Status}},
		Actor: ocsfActor{AppUID: r.Caller.AppID}, SrcEndpoint: ocsfEndpoint{Name: r.Instance}}
	if r.Status != 0 {
		e.StatusCode = fmt.Sprint(r.Status)
	}
	switch r.Outcome {
	case audit.Denied:
		e.StatusID, e.SeverityID, e.API.Response.Error = ocsfFailure, ocsfMedium, r.Reason
	case audit.Failed:
		e.StatusID, e.SeverityID, e.API.Response.Error = ocsfFailure, ocsfLow, r.Reason
	case audit.Unknown:
		e.StatusID, e.SeverityID, e.API.Response.Error = ocsfUnknown, ocsfMedium, r.Reason
	}
	if r.ClientBits > 0 {
		e.SrcEndpoint.SubnetIP = address(r)
	} else {
		e.SrcEndpoint.IP = address(r)
	}
	if c := r.Caller; c.PrincipalID != "" || c.UPN != "" {
		e.Actor.User = &ocsfUser{UID: c.PrincipalID, Name: c.UPN, Type: c.Kind}
	}
	if r.UserAgent != "" || r.Path != "" {
		e.HTTPRequest = &ocsfHTTP{UserAgent: r.UserAgent}
		if r.Path != "" {
			e.HTTPRequest.URL = &ocsfURL{r.Path}
		}
	}
	if r.VaultID != "" || r.VaultName != "" {
		e.Resources = append(e.Resources, ocsfResource{UID: r.VaultID, Name: r.VaultName, Type: "vault"})
	}
	if r.Scope != "" {
		e.Resources = append(e.Resources, ocsfResource{UID: r.Scope, Type: "scope"})
	}
	if r.ObjectName != "" {
		e.Resources = append(e.Resources, ocsfResource{UID: r.Version, Name: r.ObjectName, Type: r.ObjectKind})
	}
	return e
}

// verbs orders the words of an action's name under OCSF's activities; the first that the name contains decides.
var verbs = []struct {
	word     string
	activity int
}{
	{"Delete", ocsfDelete}, {"Purge", ocsfDelete}, {"Get", ocsfRead}, {"List", ocsfRead}, {"Backup", ocsfRead},
	{"Create", ocsfCreate}, {"Import", ocsfCreate}, {"Put", ocsfCreate}, {"Restore", ocsfCreate},
	{"Set", ocsfUpdate}, {"Update", ocsfUpdate}, {"Patch", ocsfUpdate}, {"Recover", ocsfUpdate}, {"Rotate", ocsfUpdate},
}

// activity returns the activity of an action. A name such as SecretGetDeleted reads: "Deleted" is what, not the verb.
func activity(action string) int {
	action = strings.NewReplacer("Deleted", "", "Versions", "").Replace(action)
	for _, v := range verbs {
		if strings.Contains(action, v.word) {
			return v.activity
		}
	}
	return ocsfOther
}
