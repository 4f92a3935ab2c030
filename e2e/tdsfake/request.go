package tdsfake

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Numbers of the procedure and of the requests that clients use (MS-TDS 2.2.6.6, 2.2.6.9).
const (
	procExecuteSQL      = 10
	transactionBegin    = 5
	transactionCommit   = 7
	transactionRollback = 8
)

var errShort = errors.New("the request is cut short")

// skipHeaders drops ALL_HEADERS, whose first DWORD is its own length.
func skipHeaders(payload []byte) ([]byte, error) {
	if len(payload) < 4 {
		return nil, errShort
	}
	length := binary.LittleEndian.Uint32(payload)
	if length < 4 || int64(length) > int64(len(payload)) {
		return nil, errors.New("the request's headers do not fit into it")
	}
	return payload[length:], nil
}

// parseBatch returns the SQL text of a batch.
func parseBatch(payload []byte) (string, error) {
	text, err := skipHeaders(payload)
	if err != nil {
		return "", err
	}
	if len(text)%2 != 0 {
		return "", errors.New("the batch is not UTF-16")
	}
	return decodeUTF16(text), nil
}

// parseTransaction returns the kind of a transaction manager request.
func parseTransaction(payload []byte) (uint16, error) {
	body, err := skipHeaders(payload)
	if err != nil {
		return 0, err
	}
	if len(body) < 2 {
		return 0, errShort
	}
	return binary.LittleEndian.Uint16(body), nil
}

// call is an RPC. Values are int64, string, or nil.
type call struct {
	procedure string // empty when number is set
	number    uint16
	values    []any
}

func parseRPC(payload []byte) (call, error) {
	body, err := skipHeaders(payload)
	if err != nil {
		return call{}, err
	}
	s := &scanner{b: body}
	var c call
	if length := s.uint16(); length == 0xFFFF {
		c.number = s.uint16()
	} else {
		c.procedure = decodeUTF16(s.take(2 * int(length)))
	}
	s.uint16() // option flags
	for s.err == nil && len(s.b) > 0 {
		s.take(2 * int(s.uint8())) // name
		s.uint8()                  // status
		c.values = append(c.values, s.value())
	}
	if s.err != nil {
		return call{}, s.err
	}
	return c, nil
}

// statement returns the text of an sp_executesql call and its parameters by lower-case name. The names come from the
// declarations: go-mssqldb leaves those of the first two arguments empty, and the order is the same.
func (c call) statement() (text string, parameters map[string]any, err error) {
	if c.number != procExecuteSQL && !strings.EqualFold(c.procedure, "sp_executesql") {
		return "", nil, errProcedure(c.procedure)
	}
	if len(c.values) == 0 {
		return "", nil, errSyntax("sp_executesql without one")
	}
	text, ok := c.values[0].(string)
	if !ok {
		return "", nil, errSyntax("sp_executesql without text")
	}
	if len(c.values) == 1 {
		return text, nil, nil
	}
	declared, ok := c.values[1].(string)
	if !ok {
		return "", nil, errSyntax("sp_executesql without declarations")
	}
	names := declaredNames(declared)
	if len(names) != len(c.values)-2 {
		return "", nil, errSyntax("sp_executesql with other values than declared")
	}
	parameters = make(map[string]any, len(names))
	for i, name := range names {
		parameters[name] = c.values[i+2]
	}
	return text, parameters, nil
}

// declaredNames reads "@a nvarchar(4000), @b decimal(10, 2)" as @a and @b.
func declaredNames(declarations string) []string {
	var names []string
	depth, start := 0, 0
	add := func(part string) {
		if fields := strings.Fields(part); len(fields) > 0 {
			names = append(names, strings.ToLower(fields[0]))
		}
	}
	for i, r := range declarations {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			add(declarations[start:i])
			start = i + 1
		}
	}
	add(declarations[start:])
	return names
}

// scanner reads little-endian values. After the first error every method returns zero.
type scanner struct {
	b   []byte
	err error
}

func (s *scanner) take(n int) []byte {
	if s.err == nil && n > len(s.b) {
		s.err = errShort
	}
	if s.err != nil {
		return nil
	}
	taken := s.b[:n]
	s.b = s.b[n:]
	return taken
}

func (s *scanner) uint8() uint8 {
	if b := s.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (s *scanner) uint16() uint16 {
	if b := s.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (s *scanner) uint32() uint32 {
	if b := s.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// value reads a TYPE_INFO and the value that follows it (MS-TDS 2.2.5.4 and 2.2.5.5).
func (s *scanner) value() any {
	switch t := s.uint8(); t {
	case typeIntN, typeBitN:
		s.uint8() // declared width
		return s.integer()
	case typeNVarchar, typeVarchar:
		declared := s.uint16()
		s.take(len(collation))
		raw, null := s.bytes(declared == 0xFFFF)
		switch {
		case null || s.err != nil:
			return nil
		case t == typeVarchar:
			return string(raw)
		case len(raw)%2 != 0:
			s.err = errors.New("a text parameter is not UTF-16")
			return nil
		}
		return decodeUTF16(raw)
	default:
		if s.err == nil {
			s.err = fmt.Errorf("parameters of type %#02x are beyond this protocol fake", t)
		}
		return nil
	}
}

func (s *scanner) integer() any {
	raw := s.take(int(s.uint8()))
	switch len(raw) {
	case 0:
		return nil
	case 1:
		return int64(raw[0])
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(raw)))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(raw)))
	case 8:
		return int64(binary.LittleEndian.Uint64(raw))
	}
	s.err = fmt.Errorf("an integer of %d bytes", len(raw))
	return nil
}

// bytes reads a short value, or a long one in chunks (PLP): a total that may be unknown, then chunks up to an empty
// one. All ones stand for NULL.
func (s *scanner) bytes(long bool) (raw []byte, null bool) {
	if !long {
		length := s.uint16()
		if length == 0xFFFF {
			return nil, true
		}
		return s.take(int(length)), false
	}
	if total := s.take(8); total != nil && binary.LittleEndian.Uint64(total) == 1<<64-1 {
		return nil, true
	}
	for s.err == nil {
		length := s.uint32()
		if length == 0 {
			break
		}
		if int64(length) > int64(len(s.b)) {
			s.err = errShort
			break
		}
		raw = append(raw, s.take(int(length))...)
	}
	return raw, false
}
