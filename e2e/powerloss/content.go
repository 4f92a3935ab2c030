package powerloss

// content is the bytes of a file. Those from len(head) to size are zero and take no memory, so that a large
// preallocated file costs what was written to it.
type content struct {
	head []byte
	size int64
}

// writeAt puts data at off and extends the file if it must.
func (c *content) writeAt(data []byte, off int64) {
	end := off + int64(len(data))
	c.grow(end)
	copy(c.head[off:end], data)
	c.size = max(c.size, end)
}

// grow makes head at least n bytes long; the new bytes are zero, whatever the array held before a truncation.
func (c *content) grow(n int64) {
	old := int64(len(c.head))
	if n <= old {
		return
	}
	if n <= int64(cap(c.head)) {
		c.head = c.head[:n]
		clear(c.head[old:])
		return
	}
	grown := make([]byte, n, n+n/2)
	copy(grown, c.head)
	c.head = grown
}

// truncate sets the size.
func (c *content) truncate(n int64) {
	if n < int64(len(c.head)) {
		c.head = c.head[:n]
	}
	c.size = n
}

// extend makes the file at least n bytes long.
func (c *content) extend(n int64) { c.size = max(c.size, n) }

// readAt copies what lies at off into dest and returns how much that was: less than len(dest) only at the end.
func (c *content) readAt(dest []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	n := int(min(int64(len(dest)), c.size-off))
	copied := 0
	if off < int64(len(c.head)) {
		copied = copy(dest[:n], c.head[off:])
	}
	clear(dest[copied:n])
	return n
}

// copyInto returns a copy of c that uses scratch's memory.
func (c *content) copyInto(scratch []byte) content {
	return content{head: append(scratch[:0], c.head...), size: c.size}
}

// zero clears from off to end, as far as there is anything.
func (c *content) zero(off, end int64) {
	if end = min(end, int64(len(c.head))); off < end {
		clear(c.head[off:end])
	}
}

// apply does what a Write, Truncate, Allocate or Zero did.
func (c *content) apply(op *Op) {
	switch op.Kind {
	case Write:
		c.writeAt(op.Data, op.Off)
	case Truncate:
		c.truncate(op.Size)
	case Zero:
		c.zero(op.Off, op.Size)
		if !op.KeepSize {
			c.extend(op.Size)
		}
	case Allocate:
		if !op.KeepSize {
			c.extend(op.Size)
		}
	}
}
