package door

import "context"

// Listener is what is decided by the way that a request came in. Its zero value is a listener that serves everything to the public.
type Listener struct {
	// Private says that only private networks reach it: see guard.Call.
	Private bool
	// WithoutAdministration says that the control plane of the native API is not served.
	WithoutAdministration bool
}

type listenerKey struct{}

// OnListener returns a context for the requests of a listener (http.Server.BaseContext). Nothing of a request can change it.
func OnListener(ctx context.Context, l Listener) context.Context {
	return context.WithValue(ctx, listenerKey{}, &l)
}

// ListenerOf returns the listener of a request's context.
func ListenerOf(ctx context.Context) Listener {
	if l, ok := ctx.Value(listenerKey{}).(*Listener); ok {
		return *l
	}
	return Listener{}
}
