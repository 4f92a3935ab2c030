package tdsfake

import (
	"encoding/binary"
	"math"
	"unicode/utf16"
)

// Tokens of a reply (MS-TDS 2.2.7).
const (
	tokenReturnStatus = 0x79
	tokenColMetadata  = 0x81
	tokenError        = 0xAA
	tokenLoginAck     = 0xAD
	tokenRow          = 0xD1
	tokenEnvChange    = 0xE3
	tokenDone         = 0xFD
	tokenDoneProc     = 0xFE
	tokenDoneInProc   = 0xFF
)

// Status bits of the DONE tokens.
const (
	doneMore      = 0x01
	doneError     = 0x02
	doneCount     = 0x10
	doneAttention = 0x20
)

// Data types.
const (
	typeIntN     = 0x26
	typeBitN     = 0x68
	typeVarchar  = 0xA7
	typeNVarchar = 0xE7
)

// Kinds of ENVCHANGE.
const (
	envBegin    = 8
	envCommit   = 9
	envRollback = 10
)

// maxNVarchar is the longest value of a text column, in UTF-16 units. The length of a column is declared before its
// value, and go-mssqldb panics on a longer one.
const maxNVarchar = 4000

// collation is SQL_Latin1_General_CP1_CI_AS: LCID 0409, flags, sort id 52.
var collation = []byte{0x09, 0x04, 0xD0, 0x00, 0x34}

// reply is a token stream under construction.
type reply struct{ b []byte }

// loginAck accepts a login. Its version is big-endian, unlike that of LOGIN7.
func (r *reply) loginAck(version uint32) {
	var body []byte
	body = append(body, 1) // interface: SQL_TSQL
	body = binary.BigEndian.AppendUint32(body, version)
	body = appendText8(body, productName)
	body = append(body, 0x10, 0, 0, 0) // product version 16.0.0
	r.b = append(r.b, tokenLoginAck)
	r.b = binary.LittleEndian.AppendUint16(r.b, uint16(len(body)))
	r.b = append(r.b, body...)
}

func (r *reply) done(token byte, status uint16, rows uint64) {
	r.b = append(r.b, token)
	r.b = binary.LittleEndian.AppendUint16(r.b, status)
	r.b = binary.LittleEndian.AppendUint16(r.b, 0)
	r.b = binary.LittleEndian.AppendUint64(r.b, rows)
}

func (r *reply) returnStatus(status uint32) {
	r.b = binary.LittleEndian.AppendUint32(append(r.b, tokenReturnStatus), status)
}

func (r *reply) failure(e *sqlError) {
	var body []byte
	body = binary.LittleEndian.AppendUint32(body, e.number)
	body = append(body, e.state, e.class)
	body = binary.LittleEndian.AppendUint16(body, uint16(len(utf16.Encode([]rune(e.text)))))
	body = appendUTF16(body, e.text)
	body = appendText8(body, serverName)
	body = appendText8(body, "")
	body = binary.LittleEndian.AppendUint32(body, 1)
	r.b = append(r.b, tokenError)
	r.b = binary.LittleEndian.AppendUint16(r.b, uint16(len(body)))
	r.b = append(r.b, body...)
}

// transaction tells the client that its transaction began or ended. id is that of the transaction.
func (r *reply) transaction(change byte, id uint64) {
	value := binary.LittleEndian.AppendUint64([]byte{8}, id)
	body := []byte{change}
	if change == envBegin {
		body = append(append(body, value...), 0)
	} else {
		body = append(append(body, 0), value...)
	}
	r.b = append(r.b, tokenEnvChange)
	r.b = binary.LittleEndian.AppendUint16(r.b, uint16(len(body)))
	r.b = append(r.b, body...)
}

// table sends a result set whose values are all texts of at most maxNVarchar units.
func (r *reply) table(columns []string, rows [][]string) {
	r.b = append(r.b, tokenColMetadata, byte(len(columns)), 0)
	for _, name := range columns {
		r.b = append(r.b, 0, 0, 0, 0, 0, 0, typeNVarchar)
		r.b = binary.LittleEndian.AppendUint16(r.b, 2*maxNVarchar)
		r.b = append(r.b, collation...)
		r.b = appendText8(r.b, name)
	}
	for _, row := range rows {
		r.b = append(r.b, tokenRow)
		for _, value := range row {
			text := appendUTF16(nil, value)
			r.b = binary.LittleEndian.AppendUint16(r.b, uint16(len(text)))
			r.b = append(r.b, text...)
		}
	}
}

// row sends a result set of one column and one row. value is an int64, or a string of at most maxNVarchar units.
func (r *reply) row(column string, value any) {
	r.b = append(r.b, tokenColMetadata, 1, 0, 0, 0, 0, 0, 0, 0)
	switch v := value.(type) {
	case int64:
		width := byte(4)
		if v > math.MaxInt32 || v < math.MinInt32 {
			width = 8
		}
		r.b = append(r.b, typeIntN, width)
		r.b = appendText8(r.b, column)
		r.b = append(r.b, tokenRow, width)
		r.b = append(r.b, binary.LittleEndian.AppendUint64(nil, uint64(v))[:width]...)
	case string:
		r.b = append(r.b, typeNVarchar)
		r.b = binary.LittleEndian.AppendUint16(r.b, 2*maxNVarchar)
		r.b = append(r.b, collation...)
		r.b = appendText8(r.b, column)
		text := appendUTF16(nil, v)
		r.b = append(r.b, tokenRow)
		r.b = binary.LittleEndian.AppendUint16(r.b, uint16(len(text)))
		r.b = append(r.b, text...)
	}
}

// appendText8 appends a B_VARCHAR: a count of UTF-16 units in one byte, then the units.
func appendText8(b []byte, s string) []byte {
	units := utf16.Encode([]rune(s))
	units = units[:min(len(units), math.MaxUint8)]
	b = append(b, byte(len(units)))
	for _, unit := range units {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}
