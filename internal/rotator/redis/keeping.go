package redis

import (
	"context"
	"strings"

	"github.com/keywright/keywright/internal/rotator"
)

// keeping is where a node keeps its users over a restart.
type keeping uint8

const (
	nowhere keeping = iota
	aclFile
	configFile
	sentinelFile
)

func (k keeping) String() string {
	return [...]string{"nowhere", "user file", "configuration file", "sentinel's file"}[k]
}

// command writes the users; nil where there is nothing to write to.
func (k keeping) command() []any {
	return [...][]any{nil, {"ACL", "SAVE"}, {"CONFIG", "REWRITE"}, {"SENTINEL", "FLUSHCONFIG"}}[k]
}

// keeping asks a node. Nowhere is an answer only for a configuration that allows it.
func (n *node) keeping(ctx context.Context, c *config) (keeping, error) {
	k, err := n.find(ctx)
	if k != nowhere || c.Ephemeral && (err == nil || isReply(err)) {
		return k, nil
	}
	if err != nil && word(err) != "ERR" {
		return nowhere, n.before(err, "finding out where users are kept")
	}
	return nowhere, rotator.Fail(rotator.Misconfigured, cause(err), "%s keeps its users nowhere, so that a restart brings the old password back: give it an aclfile or a configuration file, or set ephemeral", n.endpoint)
}

func (n *node) find(ctx context.Context) (keeping, error) {
	info, err := n.info(ctx)
	if err != nil {
		return nowhere, err
	}
	if info["redis_mode"] == "sentinel" {
		return sentinelFile, nil
	}
	settings, err := n.conn.ConfigGet(ctx, "aclfile").Result()
	switch {
	case err != nil:
		return nowhere, err
	case settings["aclfile"] != "":
		return aclFile, nil
	case info["config_file"] != "":
		return configFile, nil
	default:
		return nowhere, nil
	}
}

// info reads INFO: https://redis.io/docs/latest/commands/info/.
func (n *node) info(ctx context.Context) (map[string]string, error) {
	text, err := n.conn.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			found[key] = value
		}
	}
	return found, nil
}

// save makes what the node has now outlive a restart.
func (n *node) save(ctx context.Context, k keeping) error {
	command := k.command()
	if command == nil {
		return nil
	}
	return n.conn.Do(ctx, command...).Err()
}

// writable says what is wrong with a name for the file. Redis writes names into its configuration file as they are, and reads them back by the
// rules of quoted arguments: one with a quotation mark would keep the server from starting.
func (k keeping) writable(account string) string {
	if (k == configFile || k == sentinelFile) && strings.ContainsAny(account, "\"'\\#") {
		return "a name with quotation marks, backslashes or # breaks the server's configuration file: keep users in an aclfile, or rename the user"
	}
	return ""
}
