package ldap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/internal/rotator"
)

// found is what Preflight remembers of an account.
type found struct {
	Values int      `json:"values"`
	Groups []string `json:"groups,omitempty"`
}

// Preflight proves that a run can succeed.
func (*Rotator) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	c, err := parse(t.Config)
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
	}
	if err := c.fits(p); err != nil {
		return nil, err
	}
	s, err := c.administer(ctx, c.WriteEndpoint, t.Admin)
	if err != nil {
		return nil, err
	}
	defer s.close()
	report := &rotator.Report{Identities: map[string]string{}, System: s.system()}
	accounts := map[string]*found{}
	for _, account := range p.Accounts {
		if accounts[account], report.Identities[account], err = s.inspect(account, p); err != nil {
			return nil, err
		}
		if n := accounts[account].Values; account == p.Next.Account && n > 1 {
			report.Warnings = append(report.Warnings, fmt.Sprintf("%q has %d passwords: all but the one in use and the new one will be gone", account, n))
		}
	}
	if p.Strategy == rotator.Alternating {
		if err := s.equal(p.Accounts, accounts, report); err != nil {
			return nil, err
		}
	}
	if err := c.everywhere(ctx, t.Admin, p, report.Identities); err != nil {
		return nil, err
	}
	if c.Shape == activeDirectory {
		report.Warnings = append(report.Warnings, "Active Directory may accept an old password over NTLM for 60 minutes, and domain controllers may lag: that an old one works proves nothing in that time",
			"whether the administrator may reset the passwords is not visible before the first change")
	}
	if report.Snapshot, err = json.Marshal(accounts); err != nil {
		return nil, rotator.Fail(rotator.NotApplied, err, "remembering the accounts")
	}
	return report, nil
}

// fits refuses a plan that the directory cannot keep safe.
func (c *config) fits(p rotator.Plan) error {
	if err := p.Fits("a directory of the shape "+c.Shape, c.strategies()); err != nil {
		return err
	}
	if p.Strategy == rotator.Alternating && sameDN(c.dn(p.Accounts[0]), c.dn(p.Accounts[1])) {
		return rotator.Fail(rotator.Misconfigured, nil, "both accounts of the pair are %q: name two", p.Accounts[0])
	}
	return nil
}

// system names the server, where it tells.
func (s *session) system() string {
	root, err := s.entry("", "vendorName", "vendorVersion", "structuralObjectClass", "rootDomainNamingContext")
	switch {
	case err == nil && root.GetAttributeValue("vendorName") != "":
		return root.GetAttributeValue("vendorName") + " " + root.GetAttributeValue("vendorVersion")
	case err == nil && root.GetAttributeValue("structuralObjectClass") == "OpenLDAProotDSE":
		return "OpenLDAP (it does not tell its version)"
	case s.config.Shape == activeDirectory:
		return "Active Directory"
	}
	return "an LDAP directory"
}

// inspect reads an account and proves that its password may be changed.
func (s *session) inspect(account string, p rotator.Plan) (*found, string, error) {
	dn := s.config.dn(account)
	id, err := s.identity(dn)
	if errors.Is(err, errHidden) {
		return nil, "", rotator.Fail(rotator.Denied, err, "the administrator may not read what identifies %q at %s: let it read the entry", account, s.address)
	}
	if err != nil {
		return nil, "", s.failure(err, rotator.NotApplied, "reading %q", account)
	}
	f := &found{}
	if s.config.Shape == openLDAP {
		e, err := s.entry(dn, "userPassword")
		if err != nil {
			return nil, "", s.failure(err, rotator.NotApplied, "reading %q", account)
		}
		stored := e.GetAttributeValues("userPassword")
		f.Values = len(stored)
		if err := s.mayWrite(dn); err != nil {
			return nil, "", err
		}
		if p.Current != nil && p.Current.Account == account && !slices.ContainsFunc(stored, func(v string) bool { return compare(v, p.Current.Value.Reveal()) != differs }) {
			return nil, "", rotator.Fail(rotator.Misconfigured, nil,
				"the present password of %q is none of the %d that the administrator can read at %s: let it read userPassword, or find out which value the account has", account, len(stored), s.address)
		}
	}
	if s.config.GroupBase != "" {
		if f.Groups, err = s.groups(dn); err != nil {
			return nil, "", err
		}
	}
	return f, id, nil
}

// mayWrite asks for the deletion of a value that is not there. Rights are looked at first, so whoever has them hears that it is not there (noSuchAttribute),
// and nothing changes either way.
func (s *session) mayWrite(dn string) error {
	m := ldap.NewModifyRequest(dn, nil)
	m.Delete("userPassword", []string{nobodys()})
	err := s.Modify(m)
	if err == nil || code(err) == ldap.LDAPResultNoSuchAttribute {
		return nil
	}
	return s.failure(err, rotator.NotApplied, "asking whether the administrator may change the password of %q", dn)
}

// groups lists the groups that have the entry as a member.
func (s *session) groups(dn string) ([]string, error) {
	name := ldap.EscapeFilter(dn)
	result, err := s.Search(&ldap.SearchRequest{
		BaseDN: s.config.GroupBase, Scope: ldap.ScopeWholeSubtree, DerefAliases: ldap.NeverDerefAliases,
		Filter: "(|(member=" + name + ")(uniqueMember=" + name + "))", Attributes: []string{"1.1"}, // no attributes, RFC 4511 section 4.5.1.8
	})
	if err != nil {
		return nil, s.failure(err, rotator.NotApplied, "looking for the groups of %q", dn)
	}
	var names []string
	for _, e := range result.Entries {
		names = append(names, e.DN)
	}
	slices.Sort(names)
	return names, nil
}

// equal refuses a pair whose groups differ.
func (s *session) equal(pair []string, accounts map[string]*found, report *rotator.Report) error {
	if s.config.GroupBase == "" {
		report.Warnings = append(report.Warnings, "groupBase is not given, so that both accounts of the pair are members of the same groups was not checked")
		return nil
	}
	if !slices.Equal(accounts[pair[0]].Groups, accounts[pair[1]].Groups) {
		return rotator.Fail(rotator.Misconfigured, nil, "the accounts %q and %q of the pair are members of different groups below %q: make them equal, since applications use the one and then the other",
			pair[0], pair[1], s.config.GroupBase)
	}
	report.Warnings = append(report.Warnings, "rights that access rules give to one of the two names are not visible to anybody, and were not compared")
	return nil
}

// everywhere proves that every endpoint answers, belongs to the same directory and accepts the present credential.
func (c *config) everywhere(ctx context.Context, admin rotator.Credential, p rotator.Plan, identities map[string]string) error {
	for _, e := range c.Endpoints {
		if p.Current == nil {
			if err := c.answers(ctx, e, admin, p.Next.Account, identities); err != nil {
				return err
			}
			continue
		}
		one := c.login(ctx, e, admin, *p.Current)
		if err := one.Works(p.Current.Account); err != nil {
			return err
		}
		if one.Identity != identities[p.Current.Account] {
			return rotator.Fail(rotator.Misconfigured, nil, "%q is another entry at %s than at %s: name endpoints of one directory", p.Current.Account, e, c.WriteEndpoint)
		}
	}
	return nil
}

// answers proves it without a login of the account.
func (c *config) answers(ctx context.Context, address string, admin rotator.Credential, account string, identities map[string]string) error {
	s, err := c.administer(ctx, address, admin)
	if err != nil {
		return err
	}
	defer s.close()
	id, err := s.identity(c.dn(account))
	if err != nil {
		return s.failure(err, rotator.NotApplied, "reading %q", account)
	}
	if id != identities[account] {
		return rotator.Fail(rotator.Misconfigured, errors.New("the identifiers differ"), "%q is another entry at %s than at %s: name endpoints of one directory", account, address, c.WriteEndpoint)
	}
	return nil
}
