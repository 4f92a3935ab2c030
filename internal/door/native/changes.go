package native

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/feed"
)

// keepAlive is how often a stream says something when nothing happens: proxies hang up on silence after 30 seconds or more.
const keepAlive = 15 * time.Second

// resumeHeader is what a browser's EventSource sends when it connects again (WHATWG HTML, section 9.2).
const resumeHeader = "Last-Event-Id"

// maxWait bounds the time for which a stream may be asked, in seconds.
const maxWait = 86_400

func (h *handler) changeRoutes() []door.Route {
	return []door.Route{{Method: "GET", Pattern: root + "/vaults/{vault}/changes", Operation: "SecretChanges", Action: authz.SecretList.String(),
		Media: door.EventStream, Output: api.Change{}, Serve: h.streamChanges,
		Summary: "Tells of changes of a vault's secrets as they happen (server-sent events: ready, change, reset, end), without values.",
		Query: []door.Param{{Name: "names", Summary: "The secrets to be told of, separated by commas; without it all that the caller may list or read, " +
			"for which the caller needs a right on the whole vault."},
			{Name: "after", Summary: "The id of the event behind which to resume, like the header Last-Event-ID, which goes before; without either the stream begins now."},
			{Name: "wait", Summary: "After how many seconds the stream ends; 0 tells what has happened and ends. Without it the stream lasts as long as the token."}}}}
}

func changeQuery(r *door.Request) (q feed.Query, err error) {
	if names := r.Query("names"); names != "" {
		q.Names = strings.Split(names, ",")
	}
	q.After = r.Query("after")
	if last := r.HTTP.Header.Get(resumeHeader); last != "" {
		q.After = last
	}
	if text := r.Query("wait"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 0 || seconds > maxWait {
			return q, fault.New(fault.Invalid, "the parameter \"wait\" is %q: give seconds, 0 to %d", fault.Clip(text), maxWait)
		}
		wait := time.Duration(seconds) * time.Second
		q.Wait = &wait
	}
	return q, nil
}

func (h *handler) streamChanges(r *door.Request) error {
	q, err := changeQuery(r)
	if err != nil {
		return err
	}
	ctx := r.HTTP.Context()
	stream, err := h.Changes.Open(ctx, &r.Call, q)
	if err != nil {
		return err
	}
	defer stream.Close()
	out := changeWriter{Events: r.Events(h.Clock.Now()), vault: r.Call.Vault.Vault.Name}
	for {
		b, err := stream.Next(ctx, keepAlive)
		if err != nil {
			return nil // the client is gone
		}
		if err := out.write(&b); err != nil {
			return err
		}
		if err := out.Flush(); err != nil || b.Kind == feed.End {
			return nil // a client that is gone or does not read comes again, and resumes
		}
	}
}

// changeWriter writes batches as events.
type changeWriter struct {
	*door.Events
	vault string
	// marked is the place that the client knows.
	marked feed.Place
}

func (w *changeWriter) write(b *feed.Batch) error {
	switch b.Kind {
	case feed.Changes:
		for i := range b.Changes {
			c := &b.Changes[i]
			if err := w.event(c.Place, api.ChangeEvent, api.Change{Vault: w.vault, Name: c.Name, Kind: string(c.Kind), Version: string(c.Version),
				Deleted: c.Deleted, At: c.At.UTC()}); err != nil {
				return err
			}
		}
	case feed.Ready:
		return w.event(b.Place, api.ReadyEvent, struct{}{})
	case feed.Reset:
		return w.event(b.Place, api.ResetEvent, struct{}{})
	case feed.End:
		return w.event(b.Place, api.EndEvent, api.StreamEnd{Reason: b.Reason})
	case feed.Idle:
		w.Comment("nothing happened")
	}
	if b.Place != w.marked {
		w.Mark(b.Place.String())
		w.End()
		w.marked = b.Place
	}
	return nil
}

func (w *changeWriter) event(at feed.Place, kind string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	id := ""
	if at != w.marked {
		id, w.marked = at.String(), at
	}
	w.Event(id, kind, text)
	return nil
}
