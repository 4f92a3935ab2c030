package event

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// parcel is what a delivery carries: the event as its subscribers see it, and how delivering it has gone.
type parcel struct {
	// ID is a GUID.
	ID      string          `json:"id"`
	Topic   string          `json:"topic"`
	Subject string          `json:"subject"`
	Type    string          `json:"type"`
	Time    time.Time       `json:"time"`
	Data    json.RawMessage `json:"data"`

	// Published is when the event became deliverable; a replay counts as new.
	Published time.Time `json:"published"`
	Attempts  int       `json:"attempts,omitempty"`
	// Last, Outcome and Status tell of the latest attempt; Status is 0 when there was no answer.
	Last    time.Time `json:"last,omitzero"`
	Outcome string    `json:"outcome,omitempty"`
	Status  int       `json:"status,omitempty"`
	// Reason is why it is dead.
	Reason string `json:"reason,omitempty"`
}

// data is the data member of Key Vault's events; the names are those of the wire.
type data struct {
	ID         string `json:"Id"`
	VaultName  string `json:"VaultName"`
	ObjectType string `json:"ObjectType"`
	ObjectName string `json:"ObjectName"`
	Version    string `json:"Version"`
	NBF        *int64 `json:"NBF"`
	EXP        *int64 `json:"EXP"`
}

// vaultEvents is the prefix of the types whose data is of Key Vault's form.
const vaultEvents = "Microsoft.KeyVault."

// newParcel completes an event with what its emitter does not know: the topic, and the identifier of the object. v is nil for an event
// of no vault, or of one that is gone.
func (c *Config) newParcel(e *store.Event, v *vault.Vault, now time.Time) *parcel {
	p := &parcel{ID: guid(e.ID), Topic: "/tenants/" + string(e.Tenant), Subject: e.Subject, Type: e.Type, Time: e.At, Data: e.Data, Published: now}
	if v != nil {
		p.Topic = v.Scope()
	}
	var d data
	if json.Unmarshal(e.Data, &d) != nil && !json.Valid(e.Data) {
		p.Data = nil // one event that is broken must not keep all others back
		return p
	}
	if !strings.HasPrefix(e.Type, vaultEvents) {
		return p
	}
	d.ID = c.Links.Vault(d.VaultName)
	if d.ObjectType != "Vault" {
		d.ID += "/" + strings.ToLower(d.ObjectType) + "s/" + d.ObjectName + "/" + d.Version
	}
	if completed, err := json.Marshal(d); err == nil {
		p.Data = completed
	}
	return p
}

// guid writes 32 hexadecimal digits as a GUID.
func guid(id string) string {
	if len(id) != 32 {
		return id
	}
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// gridEvent is an event in Event Grid's schema.
type gridEvent struct {
	ID              string          `json:"id"`
	Topic           string          `json:"topic"`
	Subject         string          `json:"subject"`
	EventType       string          `json:"eventType"`
	EventTime       time.Time       `json:"eventTime"`
	Data            json.RawMessage `json:"data"`
	DataVersion     string          `json:"dataVersion"`
	MetadataVersion string          `json:"metadataVersion"`
}

// cloudEvent is an event in the structured mode of CloudEvents 1.0.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject"`
	Time        time.Time       `json:"time"`
	Data        json.RawMessage `json:"data"`
}

// The versions of the schemas.
const (
	dataVersion     = "1"
	metadataVersion = "1"
	specVersion     = "1.0"
)

func (p *parcel) grid() gridEvent {
	return gridEvent{p.ID, p.Topic, p.Subject, p.Type, p.Time.UTC(), p.Data, dataVersion, metadataVersion}
}

// body writes the event in a schema.
func (p *parcel) body(s Schema) (body []byte, contentType string, err error) {
	if s == CloudEvents {
		body, err = json.Marshal(cloudEvent{specVersion, p.ID, p.Topic, p.Type, p.Subject, p.Time.UTC(), p.Data})
		return body, "application/cloudevents+json; charset=utf-8", err
	}
	body, err = json.Marshal([]gridEvent{p.grid()})
	return body, "application/json; charset=utf-8", err
}

// headers sets what Event Grid sends with a notification.
func (p *parcel) headers(h http.Header, s *Subscription) {
	h.Set("Aeg-Event-Type", "Notification")
	h.Set("Aeg-Subscription-Name", strings.ToUpper(s.Name))
	h.Set("Aeg-Delivery-Count", fmt.Sprint(p.Attempts))
	h.Set("Aeg-Metadata-Version", metadataVersion)
	if s.Schema == EventGrid {
		h.Set("Aeg-Data-Version", dataVersion)
	}
}

// DeadLetter is an event that could not be delivered, with the names of Event Grid's dead letters.
type DeadLetter struct {
	gridEvent
	DeadLetterReason        string    `json:"deadLetterReason"`
	DeliveryAttempts        int       `json:"deliveryAttempts"`
	LastDeliveryOutcome     string    `json:"lastDeliveryOutcome"`
	LastHTTPStatusCode      int       `json:"lastHttpStatusCode,omitempty"`
	PublishTime             time.Time `json:"publishTime"`
	LastDeliveryAttemptTime time.Time `json:"lastDeliveryAttemptTime,omitzero"`
	// Seq is by which it is replayed.
	Seq int64 `json:"-"`
}

func (p *parcel) deadLetter(seq int64) DeadLetter {
	return DeadLetter{gridEvent: p.grid(), DeadLetterReason: p.Reason, DeliveryAttempts: p.Attempts, LastDeliveryOutcome: p.Outcome,
		LastHTTPStatusCode: p.Status, PublishTime: p.Published, LastDeliveryAttemptTime: p.Last, Seq: seq}
}
