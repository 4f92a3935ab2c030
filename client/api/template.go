package api

import "time"

// SetTemplate composes a secret of others of its vault: {{NAME}} is the value of a secret, {{NAME.MEMBER}} a member of one that is a JSON
// object; with |url behind it the value is escaped for a URL. A template holds no value.
type SetTemplate struct {
	Template string `json:"template"`
}

// SecretTemplate says of what a secret is composed.
type SecretTemplate struct {
	Vault    string `json:"vault"`
	Name     string `json:"name"`
	Template string `json:"template"`
	// Made are the latest values, the newest last.
	Made []ComposedVersion `json:"made"`
	// Problem is why the value is not up to date.
	Problem string `json:"problem,omitempty"`
}

// ComposedVersion says of which versions of its parts a version was made.
type ComposedVersion struct {
	Version string            `json:"version"`
	At      time.Time         `json:"at"`
	Parts   map[string]string `json:"parts"`
}
