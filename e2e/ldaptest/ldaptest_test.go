package ldaptest_test

import (
	"net"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/e2e/ldaptest"
)

func TestServer(t *testing.T) {
	s := ldaptest.Run(t)
	for _, name := range []string{ldaptest.Root, ldaptest.Keeper, ldaptest.Reader} {
		conn, err := s.Bind(name, s.Password)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		conn.Close()
		if _, err := s.Bind(name, "wrong"); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
	}
	log, err := s.Logs()
	if err != nil || !strings.Contains(string(log), ldaptest.Reader) || strings.Contains(string(log), s.Password) {
		t.Errorf("the log lacks the logins, or shows the password (%v)", err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{s.Address(), s.TLSAddress()} {
		l, err := net.Listen("tcp4", address)
		if err != nil {
			t.Errorf("a port is still taken: %v", err)
			continue
		}
		l.Close()
	}
	if err := s.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}
