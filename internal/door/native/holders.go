package native

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/consumer"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func (h *handler) holderRoutes() []door.Route {
	const one = root + "/vaults/{vault}/secrets/{name}/versions/{version}"
	return []door.Route{
		{Method: "GET", Pattern: one + "/holders", Operation: "VersionHolders", Action: authz.SecretUpdate.String(), Output: api.VersionHolderList{}, Serve: h.holders,
			Query:   []door.Param{{Name: "limit", Summary: "The most holders that are listed, 1 to 1000; 100 when absent. The counts are of all."}},
			Summary: "Lists who holds a version, and who breaks if it dies now; the version may be \"current\"."},
		{Method: "POST", Pattern: one + "/acks", Operation: ledger.AckOperation, Action: authz.SecretGet.String(), MaxBody: maxSmallBody, Input: api.Ack{},
			Success: http.StatusNoContent, Summary: "Acknowledges that the calling instance loaded or uses a version that it read.", Serve: h.ack},
		{Method: "POST", Pattern: one + "/clear", Operation: ledger.ClearOperation, Action: authz.SecretUpdate.String(), MaxBody: maxSmallBody, Input: api.ClearHolder{},
			Success: http.StatusNoContent, Summary: "Vouches that a consumer does not use a version any more.", Serve: h.clearHolder},
		{Method: "GET", Pattern: root + "/vaults/{vault}/secrets/{name}/holdings", Operation: "SecretHoldings", Action: authz.SecretUpdate.String(), Query: pageParams,
			Output: api.HeldPage{}, Summary: "Lists every place to which any version of a secret was ever delivered.", Serve: h.copies},
		{Method: "GET", Pattern: root + "/principals/{principal}/holdings", Operation: "PrincipalHoldings", Action: authz.AuditRead.String(), Query: pageParams,
			Output: api.HeldPage{}, Summary: "Lists every version that was ever delivered to a principal.", Serve: h.heldBy},
	}
}

// currentWord stands for the current version in a path.
const currentWord = string(vault.Current)

func pathVersion(r *door.Request) (vault.VersionID, error) {
	return vault.ParseVersionID(r.Params.Get("version"))
}

func (h *handler) holders(r *door.Request) error {
	var version vault.VersionID
	if r.Params.Get("version") != currentWord {
		var err error
		if version, err = pathVersion(r); err != nil {
			return err
		}
	}
	_, limit, err := page(r)
	if err != nil {
		return err
	}
	found, err := h.Consumers.Holders(r.HTTP.Context(), &r.Call, r.Params.Get("name"), version)
	if err != nil {
		return err
	}
	out := api.VersionHolderList{Vault: r.Call.Vault.Vault.Name, Name: found.Object.Name, Version: string(found.Version.ID), Current: string(found.Object.Current), Safe: found.Safe,
		Reason: found.Reason, Waiting: len(found.WaitingFor), Total: len(found.Verdict.Holders), Items: []api.VersionHolder{}}
	for _, x := range found.Verdict.Holders[:min(limit, len(found.Verdict.Holders))] {
		out.Items = append(out.Items, api.VersionHolder{Holding: wireHolding(&x.Holding), Name: found.Names[x.Principal], State: string(x.State), Reason: x.Reason})
	}
	return r.JSON(http.StatusOK, out)
}

func wireHolding(h *ledger.Holding) api.Holding {
	return api.Holding{Principal: string(h.Principal), Instance: h.Instance, Weak: h.Weak, First: optional(h.First), Last: optional(h.Last), Loaded: optional(h.Loaded),
		Used: optional(h.Used), Seen: optional(h.Seen), PollSeconds: int(h.Poll / time.Second), Via: h.Via, Address: h.Address, Cleared: optional(h.Cleared),
		ClearedBy: h.By, ClearedReason: h.Why}
}

func (h *handler) ack(r *door.Request) error {
	version, err := pathVersion(r)
	if err != nil {
		return err
	}
	var in api.Ack
	if err := r.Decode(&in); err != nil {
		return err
	}
	if most := int(ledger.MaxPoll / time.Second); in.PollSeconds < 0 || in.PollSeconds > most {
		return fault.New(fault.Invalid, "the member \"pollSeconds\" lies between 1 and %d, or is left out", most)
	}
	a := ledger.Ack{Level: ledger.Level(fault.Clip(in.Level)), Poll: time.Duration(in.PollSeconds) * time.Second}
	if err := h.Consumers.Ack(r.HTTP.Context(), &r.Call, r.Params.Get("name"), version, a); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

func (h *handler) clearHolder(r *door.Request) error {
	version, err := pathVersion(r)
	if err != nil {
		return err
	}
	var in api.ClearHolder
	if err := r.Decode(&in); err != nil {
		return err
	}
	c := ledger.Clearance{Consumer: ledger.Consumer{Principal: principal.ID(in.Principal), Instance: in.Instance}, Why: in.Reason}
	if err := h.Consumers.Clear(r.HTTP.Context(), &r.Call, r.Params.Get("name"), version, c); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

func (h *handler) heldBy(r *door.Request) error {
	after, limit, err := heldAfter(r)
	if err != nil {
		return err
	}
	list, more, err := h.Consumers.HeldBy(r.HTTP.Context(), &r.Call, principal.ID(r.Params.Get("principal")), after, limit)
	return answerHeld(r, list, more, err)
}

func (h *handler) copies(r *door.Request) error {
	after, limit, err := heldAfter(r)
	if err != nil {
		return err
	}
	list, more, err := h.Consumers.Copies(r.HTTP.Context(), &r.Call, r.Params.Get("name"), after, limit)
	return answerHeld(r, list, more, err)
}

// heldAfter reads where a listing of holdings goes on: behind a row, whose key is the service's affair.
func heldAfter(r *door.Request) (after *store.HoldingPlace, limit int, err error) {
	text, limit, err := page(r)
	if err != nil || text == "" {
		return nil, limit, err
	}
	after = new(store.HoldingPlace)
	if err := json.Unmarshal([]byte(text), after); err != nil {
		return nil, 0, fault.New(fault.Invalid, "the parameter \"after\" is not from a page of this listing: leave it out to begin anew")
	}
	return after, limit, nil
}

func answerHeld(r *door.Request, list []consumer.Held, more *store.HoldingPlace, err error) error {
	if err != nil {
		return err
	}
	out := api.HeldPage{Items: make([]api.HeldVersion, 0, len(list))}
	for _, x := range list {
		out.Items = append(out.Items, api.HeldVersion{Vault: x.VaultName, Kind: string(x.Kind), Name: x.NameKey, Version: string(x.Version), Holding: wireHolding(x.Holding)})
	}
	if more != nil {
		key, err := json.Marshal(more)
		if err != nil {
			return err
		}
		out.Next = next(string(key))
	}
	return r.JSON(http.StatusOK, out)
}
