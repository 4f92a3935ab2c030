package tdsfake

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzMessage: what is written in packets of any size reads back; any bytes end in a message or an error, and no
// message is longer than the limit.
func FuzzMessage(f *testing.F) {
	f.Add([]byte{0x12, 0x01, 0, 8, 0, 0, 1, 0}, uint16(512))
	f.Add(bytes.Repeat([]byte("payload"), 1000), uint16(4096))
	f.Fuzz(func(t *testing.T, payload []byte, size uint16) {
		if m, err := readMessage(bytes.NewReader(payload), 64); err == nil && len(m.payload) > 64 {
			t.Errorf("a message of %d bytes passed a limit of 64", len(m.payload))
		}
		var wire bytes.Buffer
		if err := writeMessage(&wire, kindReply, payload, max(int(size), minPacketSize)); err != nil {
			t.Fatal(err)
		}
		m, err := readMessage(&wire, len(payload))
		if err != nil || m.kind != kindReply || !bytes.Equal(m.payload, payload) || wire.Len() != 0 {
			t.Errorf("%d bytes came back as %d (%v)", len(payload), len(m.payload), err)
		}
	})
}

func FuzzPrelogin(f *testing.F) {
	f.Add(preloginReply())
	f.Add([]byte{0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := parsePrelogin(payload)
		if err != nil && p != (prelogin{}) {
			t.Errorf("an error came with %+v", p)
		}
	})
}

// encodeLogin7 is the client's side, written from the table in MS-TDS 2.2.6.4.
func encodeLogin7(l login7) []byte {
	b := make([]byte, login7Fixed)
	binary.LittleEndian.PutUint32(b[4:], l.version)
	binary.LittleEndian.PutUint32(b[8:], l.packetSize)
	for _, field := range []struct {
		pair int
		text string
	}{
		{login7Host, l.host}, {login7User, l.user}, {login7Password, l.password}, {login7App, l.app}, {login7Database, l.database},
	} {
		raw := appendUTF16(nil, field.text)
		if field.pair == login7Password {
			for i, c := range raw {
				raw[i] = (c<<4 | c>>4) ^ 0xA5
			}
		}
		binary.LittleEndian.PutUint16(b[field.pair:], uint16(len(b)))
		binary.LittleEndian.PutUint16(b[field.pair+2:], uint16(len(raw)/2))
		b = append(b, raw...)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

func FuzzLogin7(f *testing.F) {
	f.Add(encodeLogin7(login7{version: 0x74000004, user: "app", password: "päss🙂"}), "app", "secret")
	f.Add(make([]byte, login7Fixed), "", "")
	f.Fuzz(func(t *testing.T, raw []byte, user, password string) {
		if l, err := parseLogin7(raw); err != nil && l != (login7{}) {
			t.Errorf("an error came with %+v", l)
		}
		if !utf8.ValidString(user) || !utf8.ValidString(password) || len(user)+len(password) > 10000 {
			return
		}
		want := login7{version: 0x74000004, packetSize: 4096, host: "h", user: user, password: password, app: "a", database: "d"}
		if got, err := parseLogin7(encodeLogin7(want)); err != nil || got != want {
			t.Errorf("%+v -> %+v, %v", want, got, err)
		}
	})
}

// encodeRPC calls sp_executesql with one text and one number, each in the form that the flags choose.
func encodeRPC(text string, number int64, long bool) []byte {
	b := []byte{4, 0, 0, 0, 0xFF, 0xFF, procExecuteSQL, 0, 0, 0}
	for _, value := range []string{"SELECT @t", "@t nvarchar(max), @n decimal(1, 2)", text} {
		b = append(b, 0, 0, typeNVarchar)
		raw := appendUTF16(nil, value)
		if long {
			b = append(append(b, 0xFF, 0xFF), collation...)
			b = binary.LittleEndian.AppendUint64(b, 1<<64-2) // total unknown
			for len(raw) > 0 {
				part := raw[:min(len(raw), 10)]
				raw = raw[len(part):]
				b = append(binary.LittleEndian.AppendUint32(b, uint32(len(part))), part...)
			}
			b = binary.LittleEndian.AppendUint32(b, 0)
		} else {
			b = append(append(b, 0x40, 0x1F), collation...)
			b = append(binary.LittleEndian.AppendUint16(b, uint16(len(raw))), raw...)
		}
	}
	b = append(b, 2, '@', 0, 'n', 0, 0, typeIntN, 8, 8)
	return binary.LittleEndian.AppendUint64(b, uint64(number))
}

func FuzzRPC(f *testing.F) {
	f.Add(encodeRPC("text", 7, false), "text", int64(7), true)
	f.Add([]byte{4, 0, 0, 0, 3, 0, 's', 0, 'p', 0, '_', 0, 0, 0}, "", int64(-1), false)
	f.Fuzz(func(t *testing.T, raw []byte, text string, number int64, long bool) {
		if c, err := parseRPC(raw); err == nil {
			_, _, _ = c.statement()
		}
		if !utf8.ValidString(text) || (!long && len(text) > 10000) {
			return
		}
		c, err := parseRPC(encodeRPC(text, number, long))
		if err != nil {
			t.Fatal(err)
		}
		statement, parameters, err := c.statement()
		want := map[string]any{"@t": text, "@n": number}
		if err != nil || statement != "SELECT @t" || !reflect.DeepEqual(parameters, want) {
			t.Errorf("got %q, %v, %v", statement, parameters, err)
		}
	})
}

// FuzzStatement: no text makes the parser panic or run on, and a login and passwords of any characters, quoted as SQL
// wants it, come out as they went in.
func FuzzStatement(f *testing.F) {
	f.Add("set nocount on\nset textsize 1; SELECT 1 AS [a]]b]", "app", "p'w]")
	f.Add("SELECT COUNT(*) AS n FROM sys.dm_exec_sessions WHERE login_name = @p1", "", "")
	f.Add("WAITFOR DELAY '00:00:05.5'", "[", "''")
	f.Fuzz(func(t *testing.T, sql, login, password string) {
		if statements, err := parse(sql); err != nil && statements != nil {
			t.Error("an error came with statements")
		}
		quote := func(s string) string { return "N'" + strings.ReplaceAll(s, "'", "''") + "'" }
		statements, err := parse("alter login [" + strings.ReplaceAll(login, "]", "]]") + "] with password = " +
			quote(password) + " old_password=" + quote(login) + "; SELECT 1")
		want := []any{alterLogin{login: login, password: password, old: login, oldPassword: true}, selectStatement{value: int64(1)}}
		if err != nil || !reflect.DeepEqual(statements, want) {
			t.Errorf("got %+v, %v", statements, err)
		}
	})
}

// FuzzBatch: headers of any claimed length stay inside the message.
func FuzzBatch(f *testing.F) {
	f.Add(append([]byte{22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, 'S', 0))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if text, err := parseBatch(payload); err != nil && text != "" {
			t.Error("an error came with a text")
		}
		_, _ = parseTransaction(payload)
	})
}
