package event

import (
	"context"
	"io"
	"net/http"

	"github.com/keywright/keywright/internal/fault"
)

// CheckProbe reports whether the URL is one that may be asked for the health of an application.
func (n *Network) CheckProbe(raw string) error {
	_, err := n.checkEndpoint(raw)
	return err
}

// Probe asks an application for its health: GET, and an answer from 200 to 299 is good. It reaches only what webhooks may reach, and its errors
// show neither the URL's query nor anything of the answer.
func (n *Network) Probe(ctx context.Context, raw string) error {
	u, err := n.checkEndpoint(raw)
	if err != nil {
		return err
	}
	client, err := n.client("", 1)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fault.Wrap(plain(err), fault.Invalid, "the health probe has no URL that can be asked")
	}
	answer, err := client.Do(request)
	if err != nil {
		return fault.Wrap(plain(err), fault.Unavailable, "the health probe of %s got no answer", u.Host)
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection ends in good order
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fault.New(fault.Unavailable, "the health probe of %s was answered with %s", u.Host, answer.Status)
	}
	return nil
}
