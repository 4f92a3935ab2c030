package native

import (
	"net/http"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/store"
)

func (h *handler) leaseRoutes() []door.Route {
	const in = root + "/vaults/{vault}"
	const leases, one = in + "/leases", in + "/leases/{lease}"
	list := append([]door.Param{{Name: "name", Summary: "The secret by whose policy they were leased."}, {Name: "state", Summary: "The state in which they are, such as irrevocable."},
		{Name: "open", Summary: "true for those alone whose account may still be there."}}, pageParams...)
	return []door.Route{
		{Method: "POST", Pattern: in + "/secrets/{name}/leases", Operation: "LeaseIssue", Action: authz.LeaseIssue.String(), MaxBody: maxSmallBody, Input: api.IssueLease{},
			Output: api.Lease{}, Summary: "Makes an account at a target for the caller, by the dynamic rotation policy of a secret. The value is told once.", Serve: h.issueLease},
		{Method: "GET", Pattern: leases, Operation: "LeaseList", Action: authz.RotationRead.String(), Query: list, Output: api.LeasePage{},
			Summary: "Lists leases, the oldest first.", Serve: h.listLeases},
		{Method: "GET", Pattern: one, Operation: "LeaseGet", Action: authz.RotationRead.String(), Output: api.Lease{}, Summary: "Shows a lease, without its value.", Serve: h.getLease},
		{Method: "POST", Pattern: one + "/renew", Operation: "LeaseRenew", Action: authz.LeaseIssue.String(), MaxBody: maxSmallBody, Input: api.IssueLease{}, Output: api.Lease{},
			Summary: "Moves the end of one's own lease, and never beyond its latest end.", Serve: h.renewLease},
		{Method: "POST", Pattern: one + "/revoke", Operation: "LeaseRevoke", Action: authz.LeaseRevoke.String(), MaxBody: maxSmallBody, Input: api.EndLease{}, Output: api.Lease{},
			Summary: "Has the account of a lease removed; one's own takes the action of leasing alone.", Serve: h.revokeLease},
	}
}

func (h *handler) issueLease(r *door.Request) error {
	var in api.IssueLease
	if err := r.Decode(&in); err != nil {
		return err
	}
	l, value, err := h.Rotation.Lend(r.HTTP.Context(), &r.Call, r.Params.Get("name"), time.Duration(in.TTLSeconds)*time.Second)
	if err != nil {
		return err
	}
	defer value.Zero()
	out, err := h.wireLease(r, l)
	if err != nil {
		return err
	}
	text := api.Text(value.Reveal())
	out[0].Value = &text
	return r.JSON(http.StatusOK, out[0])
}

func (h *handler) answerLease(r *door.Request, l *rotation.Loan, err error) error {
	if err != nil {
		return err
	}
	out, err := h.wireLease(r, l)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, out[0])
}

func (h *handler) renewLease(r *door.Request) error {
	var in api.IssueLease
	if err := r.Decode(&in); err != nil {
		return err
	}
	l, err := h.Rotation.Renew(r.HTTP.Context(), &r.Call, store.LoanID(r.Params.Get("lease")), time.Duration(in.TTLSeconds)*time.Second)
	return h.answerLease(r, l, err)
}

func (h *handler) revokeLease(r *door.Request) error {
	var in api.EndLease
	if err := r.Decode(&in); err != nil {
		return err
	}
	l, err := h.Rotation.EndLease(r.HTTP.Context(), &r.Call, store.LoanID(r.Params.Get("lease")), in.Note)
	return h.answerLease(r, l, err)
}

func (h *handler) getLease(r *door.Request) error {
	l, err := h.Rotation.GetLoan(r.HTTP.Context(), &r.Call, store.LoanID(r.Params.Get("lease")))
	return h.answerLease(r, l, err)
}

func (h *handler) listLeases(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	list, err := h.Rotation.Loans(r.HTTP.Context(), &r.Call, r.Query("name"), store.LoanQuery{State: r.Query("state"), Open: r.Query("open") == "true",
		After: store.LoanID(after), Limit: limit})
	if err != nil {
		return err
	}
	items, err := h.wireLease(r, list...)
	if err != nil {
		return err
	}
	out := api.LeasePage{Items: items}
	if len(list) == limit {
		out.Next = next(string(list[limit-1].ID))
	}
	return r.JSON(http.StatusOK, out)
}

// wireLease is how the API shows leases, without values.
func (h *handler) wireLease(r *door.Request, list ...*rotation.Loan) ([]api.Lease, error) {
	var who []rotation.Holder
	for _, l := range list {
		who = append(who, rotation.Holder{Principal: l.Holder}, rotation.Holder{Principal: l.By})
	}
	names, err := h.Rotation.Names(r.HTTP.Context(), &r.Call, who)
	out := make([]api.Lease, 0, len(list))
	for _, l := range list {
		w := api.Lease{ID: string(l.ID), Vault: r.Call.Vault.Vault.Name, Name: l.NameKey, Account: l.Account, Holder: l.Holder, HolderName: names[l.Holder], State: string(l.State),
			Issued: l.Issued, Expires: l.Expires, Latest: l.Latest, Renewed: l.Renewed, Reason: string(l.Why), By: l.By, ByName: names[l.By], Note: l.Note, Ended: optional(l.Ended),
			Tries: l.Tries, Next: optional(l.NextAt)}
		if e := l.LastError; e != nil {
			w.LastError = &api.RotationFailure{Class: e.Class, Message: e.Message, State: string(e.State), At: e.At}
		}
		out = append(out, w)
	}
	return out, err
}
