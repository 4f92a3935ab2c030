package feed

import (
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/store"
)

// Place is where in the journal a stream stands: behind the entry at Position, which was made by the operation.
type Place struct {
	Position store.Position
	// Op is empty where the entry was pruned before anybody asked; such a place is good only as long as the process remembers it.
	Op store.OpID
}

// String returns the form that ParsePlace reads: the position in decimal, a hyphen, and the operation id.
func (p Place) String() string { return strconv.FormatInt(int64(p.Position), 10) + "-" + string(p.Op) }

// opDigits is the length of an operation id, in hexadecimal digits.
const opDigits = 32

// ParsePlace reads what String wrote. ok is false for any other text.
func ParsePlace(text string) (p Place, ok bool) {
	number, op, ok := strings.Cut(text, "-")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n < 0 || strconv.FormatInt(n, 10) != number || op != "" && (len(op) != opDigits || strings.Trim(op, "0123456789abcdef") != "") {
		return Place{}, false
	}
	return Place{store.Position(n), store.OpID(op)}, true
}
