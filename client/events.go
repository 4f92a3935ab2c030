package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

func subscriptionsPath(vault string) string {
	return vaultsPath + url.PathEscape(vault) + "/event-subscriptions"
}

func subscriptionPath(vault, name string) string {
	return subscriptionsPath(vault) + "/" + url.PathEscape(name)
}

// EventSubscriptions lists who is told of the events of a vault.
func (c *Client) EventSubscriptions(ctx context.Context, vault string) iter.Seq2[*api.EventSubscription, error] {
	return pages(ctx, c, subscriptionsPath(vault), nil, func(l *api.EventSubscriptionList) ([]api.EventSubscription, string) { return l.Items, l.Next })
}

// CreateEventSubscription subscribes an endpoint to the events of a vault. The server asks the endpoint first.
func (c *Client) CreateEventSubscription(ctx context.Context, vault, name string, in api.CreateEventSubscription) (*api.EventSubscription, error) {
	return do[api.EventSubscription](ctx, c, "PUT", subscriptionPath(vault, name), nil, in)
}

// ShowEventSubscription shows a subscription and how its deliveries are.
func (c *Client) ShowEventSubscription(ctx context.Context, vault, name string) (*api.EventSubscription, error) {
	return do[api.EventSubscription](ctx, c, "GET", subscriptionPath(vault, name), nil, nil)
}

// DeleteEventSubscription removes a subscription with everything that was still to be delivered.
func (c *Client) DeleteEventSubscription(ctx context.Context, vault, name string) error {
	return c.call(ctx, "DELETE", subscriptionPath(vault, name), nil, nil, nil)
}

// ValidateEventSubscription repeats the handshake with a subscription's endpoint.
func (c *Client) ValidateEventSubscription(ctx context.Context, vault, name string) (*api.EventSubscription, error) {
	return do[api.EventSubscription](ctx, c, "POST", subscriptionPath(vault, name)+"/validate", nil, nil)
}

// DeadLetters lists the events that could not be delivered to a subscriber.
func (c *Client) DeadLetters(ctx context.Context, vault, name string) iter.Seq2[*api.DeadLetter, error] {
	return pages(ctx, c, subscriptionPath(vault, name)+"/dead-letters", nil, func(l *api.DeadLetterList) ([]api.DeadLetter, string) { return l.Items, l.Next })
}

// ReplayDeadLetters delivers a dead letter again, or as many as one call takes when seq is 0, and returns how many those were.
func (c *Client) ReplayDeadLetters(ctx context.Context, vault, name string, seq int64) (int, error) {
	out, err := do[api.ReplayedDeadLetters](ctx, c, "POST", subscriptionPath(vault, name)+"/dead-letters/replay", nil, api.ReplayDeadLetters{Seq: seq})
	if err != nil {
		return 0, err
	}
	return out.Count, nil
}
