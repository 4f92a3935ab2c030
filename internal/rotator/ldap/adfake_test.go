package ldap_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf16"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/keywright/keywright/e2e/testca"
)

// fakeAD speaks as much of LDAP as Active Directory needs to change and try passwords, with its rules and its words, as [MS-ADTS] has them. It
// stands in for a system that cannot be run here: what passes against it is not verified against the real one.
type fakeAD struct {
	address string
	ca      []byte

	mu    sync.Mutex
	users map[string]*adUser // by distinguished name in small letters
	// anonymous counts binds with a name and no password, which succeed.
	anonymous int
	log       strings.Builder
}

type adUser struct {
	guid, sam, password string
	resets, locked      bool // may reset others' passwords; is locked out
}

func startAD(t *testing.T) *fakeAD {
	t.Helper()
	pair, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	// TLS 1.3 sends tickets at a time of its own, and the suite counts what goes to and fro.
	listener, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MaxVersion: tls.VersionTLS12, SessionTicketsDisabled: true})
	if err != nil {
		t.Fatal(err)
	}
	a := &fakeAD{address: listener.Addr().String(), ca: pair.CA, users: map[string]*adUser{}}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { a.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		group.Wait()
	})
	return a
}

func (a *fakeAD) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute)) // no test takes longer
	bound := ""
	for {
		request, err := ber.ReadPacket(conn)
		if err != nil || len(request.Children) < 2 {
			return
		}
		id, op := request.Children[0].Value.(int64), request.Children[1]
		for _, answer := range a.answer(&bound, op) {
			message := ber.NewSequence("LDAPMessage")
			message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
			message.AppendChild(answer)
			if _, err := conn.Write(message.Bytes()); err != nil {
				return
			}
		}
		if op.Tag == 2 { // unbind
			return
		}
	}
}

// result is an LDAPResult with the application tag.
func result(tag ber.Tag, code int, text string) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""))
	p.AppendChild(octets(""))
	p.AppendChild(octets(text))
	return p
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func (a *fakeAD) answer(bound *string, op *ber.Packet) []*ber.Packet {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch op.Tag {
	case 0:
		return []*ber.Packet{a.bind(bound, op.Children[1].Data.String(), op.Children[2].Data.String())}
	case 3:
		return a.search(op.Children[0].Data.String(), op.Children[1].Value.(int64))
	case 6:
		return []*ber.Packet{a.modify(*bound, op)}
	case 23: // Who am I? (RFC 4532)
		p := result(24, 0, "")
		name := ""
		if u := a.users[*bound]; u != nil {
			name = `u:EXAMPLE\` + u.sam
		}
		p.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 11, name, ""))
		return []*ber.Packet{p}
	}
	return nil
}

func (a *fakeAD) bind(bound *string, name, password string) *ber.Packet {
	fmt.Fprintf(&a.log, "bind %s\n", name)
	*bound = ""
	if password == "" {
		a.anonymous++
		return result(1, 0, "")
	}
	refuse := func(data string) *ber.Packet {
		return result(1, 49, "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data "+data+", v3839")
	}
	u := a.users[strings.ToLower(name)]
	switch {
	case u == nil:
		return refuse("525")
	case u.locked:
		return refuse("775")
	case u.password != password:
		return refuse("52e")
	}
	*bound = strings.ToLower(name)
	return result(1, 0, "")
}

func (a *fakeAD) search(base string, scope int64) []*ber.Packet {
	done := result(5, 0, "")
	u := a.users[strings.ToLower(base)]
	switch {
	case base == "":
		return []*ber.Packet{entry(base, map[string]string{"rootDomainNamingContext": "DC=example,DC=org"}), done}
	case scope != 0: // groups: there are none
		return []*ber.Packet{done}
	case u == nil:
		return []*ber.Packet{result(5, 32, "0000208D: NameErr: DSID-03100241, problem 2001 (NO_OBJECT)")}
	}
	return []*ber.Packet{entry(base, map[string]string{"objectGUID": u.guid, "sAMAccountName": u.sam}), done}
}

func entry(dn string, attributes map[string]string) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, 4, nil, "")
	p.AppendChild(octets(dn))
	list := ber.NewSequence("")
	for name, value := range attributes {
		one := ber.NewSequence("")
		one.AppendChild(octets(name))
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		set.AppendChild(octets(value))
		one.AppendChild(set)
		list.AppendChild(one)
	}
	p.AppendChild(list)
	return p
}

func (a *fakeAD) modify(bound string, op *ber.Packet) *ber.Packet {
	dn := op.Children[0].Data.String()
	fmt.Fprintf(&a.log, "modify %s by %s\n", dn, bound)
	u, by := a.users[strings.ToLower(dn)], a.users[bound]
	if u == nil {
		return result(7, 32, "0000208D: NameErr: DSID-03100241, problem 2001 (NO_OBJECT)")
	}
	values := map[int64]string{} // by operation: add 0, delete 1, replace 2
	for _, change := range op.Children[1].Children {
		attribute := change.Children[1]
		if !strings.EqualFold(attribute.Children[0].Data.String(), "unicodePwd") || len(attribute.Children[1].Children) != 1 {
			return result(7, 53, "0000207D: UpdErr")
		}
		value, ok := quoted(attribute.Children[1].Children[0].Data.Bytes())
		if !ok {
			return result(7, 53, "0000001F: SvcErr: DSID-031A126C, problem 5003 (WILL_NOT_PERFORM)")
		}
		values[change.Children[0].Value.(int64)] = value
	}
	next, replace := values[2]
	old, deletes := values[1]
	if deletes {
		next = values[0]
	}
	switch {
	case replace && (by == nil || !by.resets), !replace && !deletes:
		return result(7, 50, "00002098: SecErr: DSID-03150BC1, problem 4003 (INSUFF_ACCESS_RIGHTS)")
	case deletes && old != u.password:
		return result(7, 19, "00000056: AtrErr: DSID-03190FAB, #1: 0: 00000056: DSID-03190FAB, problem 1005 (CONSTRAINT_ATT_TYPE)")
	case !complex(next):
		return result(7, 19, "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM)")
	}
	u.password = next
	return result(7, 0, "")
}

// quoted reads the form of unicodePwd, by itself.
func quoted(raw []byte) (string, bool) {
	var units []uint16
	for i := 0; i+1 < len(raw); i += 2 {
		units = append(units, uint16(raw[i])|uint16(raw[i+1])<<8)
	}
	text := string(utf16.Decode(units))
	if len(raw)%2 != 0 || len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return "", false
	}
	return text[1 : len(text)-1], true
}

// complex is Active Directory's default: seven characters of three kinds.
func complex(value string) bool {
	kinds := 0
	for _, kind := range []func(rune) bool{unicode.IsLower, unicode.IsUpper, unicode.IsDigit, unicode.IsPunct} {
		if strings.ContainsFunc(value, kind) {
			kinds++
		}
	}
	return len(value) >= 7 && kinds >= 3
}
