package native

import (
	"context"
	"net/http"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
)

// What the doors of secrets, keys and certificates have in common. A kind of objects brings its own form on the wire, and the method of its service.

// wire gives an item the form of its kind. With an error it is as complete as it can be.
type wire[T any] func(*door.Request, *object.Item) (*T, error)

// lister is how a service lists.
type lister func(context.Context, *guard.Call, object.Page) (object.Listing, error)

// answerItem answers with an item, or fails with err.
func answerItem[T any](r *door.Request, item *object.Item, form wire[T], err error) error {
	if err != nil {
		return err
	}
	out, err := form(r, item)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, out)
}

// pageOf returns the items of the page that the request asks for, and where the next one begins.
func pageOf[T any](r *door.Request, list lister, form wire[T]) (items []T, following string, err error) {
	after, limit, err := page(r)
	if err != nil {
		return nil, "", err
	}
	found, err := list(r.HTTP.Context(), &r.Call, object.Page{After: after, Limit: limit})
	if err != nil {
		return nil, "", err
	}
	items = make([]T, 0, len(found.Items))
	for i := range found.Items {
		// What cannot be read of one must not keep the others from being listed; whoever gets that one is told.
		item, _ := form(r, &found.Items[i])
		items = append(items, *item)
	}
	if found.Next != "" {
		following = next(found.Next)
	}
	return items, following, nil
}

// versionsOf lists the versions of the object that the path names.
func versionsOf(r *door.Request, versions func(context.Context, *guard.Call, string, object.Page) (object.Listing, error)) lister {
	return func(ctx context.Context, call *guard.Call, p object.Page) (object.Listing, error) {
		return versions(ctx, call, r.Params.Get("name"), p)
	}
}

// moveItem serves what takes a name alone and answers with the item.
func moveItem[T any](move func(context.Context, *guard.Call, string) (object.Item, error), form wire[T]) func(*door.Request) error {
	return func(r *door.Request) error {
		item, err := move(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
		return answerItem(r, &item, form, err)
	}
}

// purge serves the end of a deleted object.
func purge(of func(context.Context, *guard.Call, string) error) func(*door.Request) error {
	return func(r *door.Request) error {
		if err := of(r.HTTP.Context(), &r.Call, r.Params.Get("name")); err != nil {
			return err
		}
		r.Raw(http.StatusNoContent, nil)
		return nil
	}
}

// admit asks whether the caller may restore, before a body that may be large is read.
func admit(of func(context.Context, *guard.Call) error) func(*door.Request) error {
	return func(r *door.Request) error { return of(r.HTTP.Context(), &r.Call) }
}

// backupOf serves the backup of an object, in the form of its kind.
func backupOf[T any](backup func(context.Context, *guard.Call, string) ([]byte, error), form func(blob []byte) T) func(*door.Request) error {
	return func(r *door.Request) error {
		blob, err := backup(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
		if err != nil {
			return err
		}
		return r.JSON(http.StatusOK, form(blob))
	}
}
