package store

import "context"

// Dumper is what an engine does for copies of everything that it keeps. Copies are of tables and not of aggregates, so that none can be forgotten, and
// the engines agree about tables: what one of them dumped, the other loads.
type Dumper interface {
	// Dump gives every row of one committed state to the sink, while others read and write, in bounded memory. Where a sink takes long, the engine keeps
	// what is overwritten meanwhile for as long.
	Dump(ctx context.Context, to Sink) error
}

// Sink takes a dump. Table comes before the rows of a table, tables in the order of their names. An error ends the dump, and is its own.
type Sink interface {
	Table(t *Table) error
	// Row takes one value for each column: an int64, a string, a []byte, or nil. They are good until it returns.
	Row(values []any) error
}

// Table is a table of the schema. Its columns are in the order of their names.
type Table struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
}

// Loader fills a store from a dump. While a load is under way, and after one that did not end, the store can be opened for nothing but a load.
type Loader interface {
	// Empty reports whether the store holds nothing that was written by anybody.
	Empty(ctx context.Context) (bool, error)
	// Load takes everything out of the store that is in it, tombstones excepted, and puts in what from gives. It obeys the tombstones of both, and those
	// given: what they name is left out. Leases get fences above all that were ever given, and are over. A table or column that the schema does not have is
	// a fault.Invalid: a newer release wrote it. Columns that from does not have get their defaults.
	//
	// It can be called again after any end. Afterwards the store can be read, and nobody else opens it until Settle.
	Load(ctx context.Context, from Source, more []Tombstone) (Loaded, error)
	// Settle ends a load that is whole: the store is one like any other from then on.
	Settle(ctx context.Context) error
}

// Source is a dump that is read. Each calls the sink as a Dumper does.
type Source interface {
	Each(ctx context.Context, to Sink) error
}

// Loaded says what a load did.
type Loaded struct {
	Tables int   `json:"tables"`
	Rows   int64 `json:"rows"`
	// Tombstones is how many the store has now; Buried how many objects of the dump, and BuriedVaults how many vaults, they kept from coming back.
	Tombstones   int64 `json:"tombstones"`
	Buried       int64 `json:"buried"`
	BuriedVaults int64 `json:"buriedVaults"`
}

// FenceLeap is how far a load moves the fences of leases. No store gives out so many in its life, so that a fence of the time after the dump was made,
// which the loaded store cannot know, is never given twice.
const FenceLeap = 1 << 32
