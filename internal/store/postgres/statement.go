package postgres

import (
	"bytes"
	"database/sql/driver"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/keywright/keywright/internal/store/relational"
)

// Formats of parameters and results in the protocol.
const (
	textFormat   = 0
	binaryFormat = 1
)

// statement is one that is to be sent, and what came of it.
type statement struct {
	query string
	// control statements begin and end transactions and savepoints. They have no parameters and are not prepared.
	control bool
	values  [][]byte
	formats []int16
	// least is how many rows it must change; -1 when anything will do.
	least int64
	// each is called for every row.
	each func(relational.Row) error

	n   int64
	tag string
}

// control returns a statement that begins or ends something.
func control(query string) *statement { return &statement{query: query, control: true, least: -1} }

// newStatement takes over the arguments: whoever gave them may change them before they are sent.
func newStatement(query string, args []any) (*statement, error) {
	s := &statement{query: query, least: -1}
	if len(args) == 0 {
		return s, nil
	}
	s.values, s.formats = make([][]byte, len(args)), make([]int16, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case nil:
		case string:
			s.values[i] = []byte(escape(a))
		case []byte:
			s.values[i], s.formats[i] = bytes.Clone(a), binaryFormat
		case int64:
			s.values[i] = strconv.AppendInt(nil, a, 10)
		case int:
			s.values[i] = strconv.AppendInt(nil, int64(a), 10)
		case bool:
			s.values[i] = []byte("0")
			if a {
				s.values[i][0] = '1'
			}
		default:
			return nil, fmt.Errorf("an argument is of the type %T, which no column has", a)
		}
	}
	return s, nil
}

// prepared is a statement that the server knows.
type prepared struct {
	name string
	// results are the formats of its columns, oids their types.
	results []int16
	oids    []uint32
}

func newPrepared(d *pgconn.StatementDescription) *prepared {
	p := &prepared{name: d.Name, results: make([]int16, len(d.Fields)), oids: make([]uint32, len(d.Fields))}
	for i, f := range d.Fields {
		p.oids[i] = f.DataTypeOID
		if f.DataTypeOID == pgtype.ByteaOID {
			p.results[i] = binaryFormat
		}
	}
	return p
}

// read takes the result of a statement. The error of each is kept until all rows are read.
func (s *statement) read(r *pgconn.ResultReader, p *prepared, row []driver.Value) error {
	var failed error
	for r.NextRow() {
		if s.each == nil || failed != nil {
			continue
		}
		values := r.Values()
		for i, v := range values {
			if row[i], failed = decode(v, p.oids[i]); failed != nil {
				break
			}
		}
		if failed == nil {
			failed = s.each(relational.Row(row[:len(values)]))
		}
	}
	tag, err := r.Close()
	if err != nil {
		return err
	}
	s.n, s.tag = tag.RowsAffected(), tag.String()
	if failed != nil {
		return &callback{failed}
	}
	return nil
}

// decode returns a column's value as relational.Row has it. The connection uses the bytes again.
func decode(v []byte, oid uint32) (driver.Value, error) {
	switch {
	case v == nil:
		return nil, nil
	case oid == pgtype.ByteaOID:
		return bytes.Clone(v), nil
	case oid == pgtype.Int8OID || oid == pgtype.Int4OID:
		return strconv.ParseInt(string(v), 10, 64)
	}
	return unescape(string(v)), nil
}

// callback is an error of whoever reads the rows; the connection is well.
type callback struct{ error }

func (c *callback) Unwrap() error { return c.error }
