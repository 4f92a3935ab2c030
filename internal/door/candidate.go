package door

import (
	"slices"

	"github.com/keywright/keywright/internal/vault"
)

// Headers about candidates. A rotation that replaces the only password of an account publishes the new one before the target takes it. A reader that sends
// AcceptHeader with the value AcceptCandidate is told the candidate's id with the current version, and may read it by that id: it is to be tried when the
// target refuses the current one, and only then. For everybody else the candidate does not exist.
const (
	AcceptHeader    = "X-Keywright-Accept"
	AcceptCandidate = "candidate"
	CandidateHeader = "X-Keywright-Candidate"
)

// AcceptsCandidate reports whether the caller says that it knows what a candidate is.
func (r *Request) AcceptsCandidate() bool {
	return slices.Contains(r.HTTP.Header[AcceptHeader], AcceptCandidate)
}

// Candidate tells a caller that knows what it is the id of the object's candidate, if there is one and the answer is not that one itself.
func (r *Request) Candidate(o *vault.Object, id vault.VersionID) {
	if c := o.LabelOf(vault.Candidate); c != "" && c != id && r.AcceptsCandidate() {
		r.Header().Set(CandidateHeader, string(c))
	}
}
