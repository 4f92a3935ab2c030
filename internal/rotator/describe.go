package rotator

// Description says what a rotator can do, for the planner, for people and for the capability API.
type Description struct {
	// Name is the word by which policies ask for the rotator.
	Name string `json:"name"`
	// Title is the target's name as people write it.
	Title string `json:"title"`
	// Strategies are those that the target can keep safe.
	Strategies []Strategy `json:"strategies"`
	// Evidence says what the target shows of the use of a credential.
	Evidence Evidence `json:"evidence"`
	// SelfService is true when an account may change its own value, so that no administrator is needed.
	SelfService bool `json:"selfService"`
	// Value is what values the target takes.
	Value ValueRules `json:"value"`
	// Verified are the systems against which the conformance suite passes; everything else is unverified.
	Verified []System `json:"verified"`
	// Unverified are systems that the rotator is written for and was not proved against, a protocol fake included.
	Unverified []System `json:"unverified,omitempty"`
	// LoginsBeforeLockout is after how many refused logins the target may lock an account unless its configuration says otherwise; 0 is never.
	LoginsBeforeLockout int `json:"loginsBeforeLockout,omitempty"`
	// Config describes the members of the target's configuration.
	Config []Member `json:"config"`
}

// Supports reports whether the target can keep the strategy safe.
func (d *Description) Supports(s Strategy) bool {
	for _, known := range d.Strategies {
		if known == s {
			return true
		}
	}
	return false
}

// System is a product in one version.
type System struct {
	Product string `json:"product"`
	Version string `json:"version"`
	// By says what stood in for a system that could not be run: a protocol fake. It is empty for the real one.
	By string `json:"by,omitempty"`
}

// Evidence is what a target shows of the use of a credential.
type Evidence string

// What targets show.
const (
	// NoEvidence: nothing; consumers have to acknowledge.
	NoEvidence Evidence = "none"
	// AccountEvidence: which account a session belongs to. It tells old from new only where they are different accounts.
	AccountEvidence Evidence = "account"
	// CredentialEvidence: which value a session used.
	CredentialEvidence Evidence = "credential"
)

// ValueRules bound the values that the engine makes.
type ValueRules struct {
	// Length is in characters.
	Length int `json:"length"`
	// Alphabet are the characters that are used; the first one of a value is always a letter.
	Alphabet string `json:"alphabet"`
	// Classes asks for at least one lower-case letter, one upper-case letter and one digit.
	Classes bool `json:"classes,omitempty"`
}

// DefaultValue fits every target that stores passwords: 32 letters and digits, 190 bits. Symbols break connection strings and shells.
var DefaultValue = ValueRules{Length: 32, Alphabet: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"}

// Member describes one member of a configuration object.
type Member struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required,omitempty"`
	// Help is one sentence.
	Help string `json:"help"`
}
