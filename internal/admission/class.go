package admission

import "time"

// Class is a kind of requests that give way together.
type Class uint8

// The classes. Requests of Exempt ones are neither counted nor held up: the health of the server, and streams, which last.
const (
	Unset Class = iota
	Exempt
	Read
	Use
	Query
	Write

	classes
)

var classNames = [classes]string{"unset", "exempt", "read", "use", "query", "write"}

// String is the class as metrics name it.
func (c Class) String() string { return classNames[c] }

// Limited lists the classes that have a limit, those that give way last first.
func Limited() []Class { return []Class{Read, Use, Query, Write} }

// Resource is something that work waits for.
type Resource uint8

// The resources. Readers and Writer are the store's.
const (
	Processor Resource = iota
	Readers
	Writer

	resources
)

var resourceNames = [resources]string{"processor", "readers", "writer"}

// String is the resource as metrics name it.
func (r Resource) String() string { return resourceNames[r] }

// Resources lists the resources.
func Resources() []Resource { return []Resource{Processor, Readers, Writer} }

// Delays are how long work waited for each resource of late.
type Delays [resources]time.Duration

// bounds are what holds for a class.
type bounds struct {
	// least is how many run at once on each processor however long work waits: enough to keep it busy. usual is how many may as long as no more were
	// needed of late, so that a flood does not come in at once. most is how many run at once at all; 0 means that a class is not counted while work
	// does not wait.
	least, usual, most int
	// bearable is how long work may wait for a resource before fewer requests of the class are let in; 0 where the class does not mind.
	bearable Delays
}

// limits are chosen for a read that is to be answered within 100 ms at the 99th percentile: what waits for the processor waits behind all that is let
// in, each a fraction of a millisecond of work. A write is one of a group of up to 256 that are made durable together, so that two groups keep the disk
// busy.
var limits = [classes]bounds{
	Read:  {least: 32, usual: 512, bearable: Delays{Processor: 40 * time.Millisecond}},
	Use:   {least: 8, usual: 16, most: 512, bearable: Delays{Processor: 20 * time.Millisecond, Readers: 20 * time.Millisecond}},
	Query: {least: 4, usual: 16, most: 512, bearable: Delays{Processor: 10 * time.Millisecond, Readers: 5 * time.Millisecond}},
	Write: {least: 16, usual: 64, most: 512, bearable: Delays{Processor: 10 * time.Millisecond, Writer: 250 * time.Millisecond}},
}

// load is by how much work waits longer than is bearable: above 1 it does.
func (b *bounds) load(d Delays) (load float64) {
	for r, most := range b.bearable {
		if most > 0 {
			load = max(load, float64(d[r])/float64(most))
		}
	}
	return load
}

// The steps in which a limit changes: at most down to a quarter, so that a flood is met within three intervals, and up or back by an eighth, or up by half.
const (
	deepest = 0.25
	step    = 8
	// calm is the load under which a limit that is used up rises fast.
	calm = 0.5
)

// next is the limit of the coming interval. peak is how many ran at once in the last one.
func (b *bounds) next(limit, procs, peak int, load float64) int {
	usual := b.usual * procs
	switch {
	case load > 1:
		return max(b.least*procs, int(float64(min(limit, peak))*max(deepest, 1/load)))
	case peak >= limit && load < calm:
		return limit + max(1, limit/2)
	case peak >= limit || limit < usual && load < calm:
		return limit + max(1, limit/step)
	case limit > usual && peak < limit/2:
		return max(usual, limit-max(1, limit/step))
	}
	return limit
}
