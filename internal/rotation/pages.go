package rotation

import (
	"context"
	"iter"

	"github.com/keywright/keywright/internal/store"
)

// pageSize bounds what is read in one transaction.
const pageSize = 256

// policies reads every policy that the query selects, a page at a time, each page as it is then. It ends with the first error.
func (e *Engine) policies(ctx context.Context, q store.PolicyQuery) iter.Seq2[*store.Policy, error] {
	q.Limit = pageSize
	return func(yield func(*store.Policy, error) bool) {
		for {
			var page []*store.Policy
			err := e.Store.View(ctx, func(tx store.Tx) (err error) {
				page, err = tx.Policies(ctx, q)
				return err
			})
			if err != nil {
				yield(nil, err)
				return
			}
			for _, p := range page {
				if !yield(p, nil) {
					return
				}
			}
			if len(page) < q.Limit {
				return
			}
			q.After = page[len(page)-1].Object
		}
	}
}
