package postgres

// For the tests that have a server.
var (
	Literal = literal
	Quote   = quote
	LockKey = lockKey
)
