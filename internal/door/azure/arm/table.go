package arm

import "github.com/keywright/keywright/internal/door"

// Table returns the door's routes as data, for documents and for tests that go over all of them. They cannot be served.
func Table() []door.Route { return (&handler{}).routes() }
