package client

import (
	"context"
	"iter"
	"maps"
	"net/url"
)

// pages lists everything behind a path, page by page. An error ends the listing.
func pages[List, Item any](ctx context.Context, c *Client, path string, query url.Values, open func(*List) ([]Item, string)) iter.Seq2[*Item, error] {
	return func(yield func(*Item, error) bool) {
		q := maps.Clone(query)
		if q == nil {
			q = url.Values{}
		}
		for {
			var page List
			if err := c.call(ctx, "GET", path, q, nil, &page); err != nil {
				yield(nil, err)
				return
			}
			items, next := open(&page)
			for i := range items {
				if !yield(&items[i], nil) {
					return
				}
			}
			if next == "" {
				return
			}
			q.Set("after", next)
		}
	}
}
