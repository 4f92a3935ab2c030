package audit

import (
	"errors"

	"github.com/keywright/keywright/internal/fault"
)

// A change's row is the frame of its record, with the node that committed it before it where several nodes share a database:
//
//	rowVersion | length of node | node | frame
//
// The row of a node that has its database for itself is the frame alone, as it was before there were several.
const rowVersion = 2

// AppendRow appends the row of a node's change to dst.
func AppendRow(dst []byte, node string, frame []byte) ([]byte, error) {
	if node == "" || len(node) > maxID {
		return nil, fault.New(fault.Internal, "the node of an audit row has %d bytes; 1 to %d are allowed", len(node), maxID)
	}
	dst = append(dst, rowVersion, byte(len(node)))
	return append(append(dst, node...), frame...), nil
}

// ParseRow returns who committed the change of a row, "" when the row does not tell, and the frame of its record.
func ParseRow(row []byte) (node string, frame []byte, err error) {
	if len(row) == 0 || row[0] != rowVersion {
		return "", row, nil
	}
	if len(row) < 2 || row[1] == 0 || row[1] > maxID || len(row) < 2+int(row[1]) {
		return "", nil, errors.New("audit: the row is shorter than it says")
	}
	end := 2 + int(row[1])
	return string(row[2:end]), row[end:], nil
}
