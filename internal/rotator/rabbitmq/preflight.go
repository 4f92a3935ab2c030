package rabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/rotator"
)

// rights is what must be equal within a pair, and what a change must not touch.
type rights struct {
	Tags        []string        `json:"tags"`
	Permissions []permission    `json:"permissions"`
	Topics      []topic         `json:"topicPermissions"`
	Limits      json.RawMessage `json:"limits,omitempty"`
}

// topic is what a user may do by routing key, https://www.rabbitmq.com/docs/access-control#topic-authorisation.
type topic struct {
	VHost    string `json:"vhost"`
	Exchange string `json:"exchange"`
	Write    string `json:"write"`
	Read     string `json:"read"`
}

// Preflight proves that a run can succeed.
func (*Rotator) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	a, err := open(ctx, t)
	if err != nil {
		return nil, err
	}
	defer a.close()
	if err := a.fits(p); err != nil {
		return nil, err
	}
	if err := a.administers(ctx); err != nil {
		return nil, err
	}
	report := &rotator.Report{Identities: map[string]string{}}
	cluster, err := a.healthy(ctx, report)
	if err != nil {
		return nil, err
	}
	found := map[string]*rights{}
	for _, account := range p.Accounts {
		if found[account], err = a.rights(ctx, account); err != nil {
			return nil, err
		}
		report.Identities[account] = identity(cluster, account)
		if slices.Contains(found[account].Tags, "administrator") {
			report.Warnings = append(report.Warnings, fmt.Sprintf("%q is an administrator of the broker: whoever reads its password can change every other", account))
		}
	}
	if p.Strategy == rotator.Alternating {
		if err := equal(p.Accounts, found); err != nil {
			return nil, err
		}
	}
	if err := a.reachable(ctx, cluster); err != nil {
		return nil, err
	}
	if err := a.works(ctx, p.Current); err != nil {
		return nil, err
	}
	if report.Snapshot, err = json.Marshal(found); err != nil {
		return nil, rotator.Fail(rotator.NotApplied, err, "remembering the rights of the accounts")
	}
	return report, nil
}

// fits refuses a plan that the broker cannot keep safe.
func (a *api) fits(p rotator.Plan) error {
	if err := p.Fits("RabbitMQ, whose users have one password each,", (*Rotator)(nil).Describe().Strategies); err != nil {
		return err
	}
	if p.Strategy == rotator.Dynamic && a.config.Dynamic == nil {
		return rotator.Fail(rotator.Misconfigured, nil, "the configuration of the target has no member dynamic: write which rights an account for a lease gets")
	}
	return p.Spares(a.admin)
}

// administers proves that the administrator may change users.
func (a *api) administers(ctx context.Context) error {
	var me struct {
		Tags tags `json:"tags"`
	}
	if err := a.get(ctx, &me, "whoami"); err != nil {
		return err
	}
	if !slices.Contains(me.Tags, "administrator") {
		return rotator.Fail(rotator.Denied, nil, "%q may not change users: give it the tag administrator at %s", a.admin.Account, a.config.ManagementEndpoint)
	}
	return nil
}

// healthy names the cluster and refuses one whose nodes do not agree, where a change may get lost.
func (a *api) healthy(ctx context.Context, report *rotator.Report) (cluster string, err error) {
	var overview struct {
		Product string `json:"product_name"`
		Version string `json:"product_version"`
		Older   string `json:"rabbitmq_version"`
		Cluster string `json:"cluster_name"`
	}
	if err := a.get(ctx, &overview, "overview"); err != nil {
		return "", err
	}
	if overview.Product == "" {
		overview.Product, overview.Version = "RabbitMQ", overview.Older
	}
	report.System = overview.Product + " " + overview.Version
	var nodes []struct {
		Name       string   `json:"name"`
		Running    bool     `json:"running"`
		Partitions []string `json:"partitions"`
	}
	if err := a.get(ctx, &nodes, "nodes"); err != nil {
		return "", err
	}
	for _, n := range nodes {
		if len(n.Partitions) > 0 {
			return "", rotator.Fail(rotator.NotApplied, nil, "the node %s is cut off from %s: heal the partition of the cluster first", n.Name, strings.Join(n.Partitions, ", "))
		}
		if !n.Running {
			report.Warnings = append(report.Warnings, "the node "+n.Name+" is not running")
		}
	}
	return overview.Cluster, nil
}

// rights reads what an account may do, in an order of its own.
func (a *api) rights(ctx context.Context, account string) (*rights, error) {
	u, err := a.user(ctx, account)
	if err != nil {
		return nil, err
	}
	r := &rights{}
	if err := json.Unmarshal(u.Tags, (*tags)(&r.Tags)); err != nil {
		return nil, rotator.Fail(rotator.NotApplied, err, "reading the tags of the user %q", account)
	}
	if err := a.get(ctx, &r.Permissions, "users", account, "permissions"); err != nil {
		return nil, err
	}
	if err := a.get(ctx, &r.Topics, "users", account, "topic-permissions"); err != nil {
		return nil, err
	}
	var limits []struct {
		Value json.RawMessage `json:"value"`
	}
	// Limits of users came with 3.8.10.
	if err := a.get(ctx, &limits, "user-limits", account); err != nil && !errors.Is(err, errAbsent) {
		return nil, err
	}
	if len(limits) > 0 {
		r.Limits = limits[0].Value
	}
	slices.Sort(r.Tags)
	slices.SortFunc(r.Permissions, func(a, b permission) int { return strings.Compare(a.VHost, b.VHost) })
	slices.SortFunc(r.Topics, func(a, b topic) int { return strings.Compare(a.VHost+"\x00"+a.Exchange, b.VHost+"\x00"+b.Exchange) })
	if !slices.ContainsFunc(r.Permissions, func(p permission) bool { return p.VHost == a.config.VHost }) {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the user %q may not open the virtual host %q, so no login of it can be proved: give it permissions there, or name another vhost in the configuration", account, a.config.VHost)
	}
	return r, nil
}

// equal refuses a pair of which one user may do what the other may not.
func equal(pair []string, found map[string]*rights) error {
	a, b := found[pair[0]], found[pair[1]]
	for _, c := range []struct {
		what string
		same bool
	}{
		{"tags", slices.Equal(a.Tags, b.Tags)},
		{"permissions on virtual hosts", slices.Equal(a.Permissions, b.Permissions)},
		{"topic permissions", slices.Equal(a.Topics, b.Topics)},
		{"limits", sameJSON(a.Limits, b.Limits)},
	} {
		if !c.same {
			return rotator.Fail(rotator.Misconfigured, nil, "the users %q and %q of the pair differ in their %s: make them equal, since applications use the one and then the other", pair[0], pair[1], c.what)
		}
	}
	return nil
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	_, _ = json.Unmarshal(a, &x), json.Unmarshal(b, &y) // what is absent stays nil
	return reflect.DeepEqual(x, y)
}

// reachable proves that every AMQP endpoint answers and belongs to the cluster whose users change.
func (a *api) reachable(ctx context.Context, cluster string) error {
	for _, e := range a.config.AMQPEndpoints {
		name, err := a.greeting(ctx, e)
		if err != nil {
			return rotator.Fail(rotator.NotApplied, err, "no broker answered at %s", e)
		}
		if name != cluster {
			return rotator.Fail(rotator.Misconfigured, nil, "%s belongs to the cluster %q and the management API at %s to %q: name endpoints of one cluster", e, name, a.config.ManagementEndpoint, cluster)
		}
	}
	return nil
}

// works proves that the present credential logs in everywhere.
func (a *api) works(ctx context.Context, current *rotator.Credential) error {
	if current == nil {
		return nil
	}
	for _, e := range a.config.AMQPEndpoints {
		if err := a.login(ctx, e, *current).Works(current.Account); err != nil {
			return err
		}
	}
	return nil
}

// tags reads both forms: a list, or words with commas between them.
type tags []string

// UnmarshalJSON reads both forms.
func (t *tags) UnmarshalJSON(text []byte) error {
	*t = nil
	if len(text) > 0 && text[0] == '[' {
		return json.Unmarshal(text, (*[]string)(t))
	}
	var words string
	if err := json.Unmarshal(text, &words); err != nil {
		return err
	}
	for word := range strings.SplitSeq(words, ",") {
		if word = strings.TrimSpace(word); word != "" {
			*t = append(*t, word)
		}
	}
	return nil
}
