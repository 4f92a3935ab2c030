package odata

import (
	"strings"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Assignments reads the filter of a listing of role assignments: atScope(), principalId eq and assignedTo(), alone or joined by and.
func Assignments(text string) (f access.Filter, err error) {
	parsed, err := Parse(text)
	if err != nil || len(parsed) == 0 {
		return f, err
	}
	for _, c := range parsed[0] {
		switch {
		case c.Op == "atscope" && c.Value == "":
			f.AtScope = true
		case c.Op == "eq" && strings.EqualFold(c.Field, "principalId"):
			f.Principal, err = principalID(c.Value)
		case c.Op == "assignedto" && c.Field == "":
			f.AssignedTo, err = principalID(c.Value)
		default:
			err = unknownCondition(c)
		}
		if err != nil {
			return f, err
		}
	}
	if len(parsed) > 1 {
		return f, unknownCondition(parsed[1][0])
	}
	return f, nil
}

func unknownCondition(c Clause) error {
	return fault.New(fault.Invalid, "the $filter condition %q is not known here: use atScope(), principalId eq 'ID' and assignedTo('ID'), joined by and", c.String()).
		Because("InvalidFilter")
}

func principalID(s string) (principal.ID, error) {
	id, err := vault.ParseGUID(s)
	return principal.ID(id), err
}
