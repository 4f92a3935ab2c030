package ldap

import (
	"net"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/internal/rotator"
)

// A connection that ends while an account is looked at says nothing of the administrator's rights: the run tries again.
func TestALostConnectionIsNoDenial(t *testing.T) {
	here, there := net.Pipe()
	conn := ldap.NewConn(here, false)
	conn.Start()
	go func() {
		request := make([]byte, 1)
		_, _ = there.Read(request) // the search has begun
		_ = there.Close()
	}()
	s := &session{Conn: conn, config: &config{AccountDN: "cn={account},dc=example", Shape: openLDAP}, address: "directory:389"}
	defer s.close()
	if _, _, err := s.inspect("app", rotator.Plan{}); rotator.ClassOf(err) != rotator.NotApplied {
		t.Errorf("got %v, of class %s", err, rotator.ClassOf(err))
	}
}
