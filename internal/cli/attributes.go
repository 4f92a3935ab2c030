package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// attributes are the flags of what is known about a version.
type attributes struct {
	tags               []string
	notBefore, expires string
	enabled            bool
}

// flags adds those that every kind has. Enabled says what a version can that is.
func (at *attributes) flags(c *cobra.Command, enabled string) {
	f := c.Flags()
	f.StringArrayVar(&at.tags, "tag", nil, "a tag, NAME=VALUE; may be given more than once")
	f.BoolVar(&at.enabled, "enabled", true, enabled)
}

// times adds those of when a version counts. A certificate says that itself.
func (at *attributes) times(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&at.notBefore, "not-before", "", "instant from which the version is meant to be used (RFC 3339, a date, or a duration from now such as 24h)")
	f.StringVar(&at.expires, "expires", "", "instant at which the version expires (RFC 3339, a date, or a duration from now such as 720h)")
}

// clearing lets the flags take away what is there.
func (at *attributes) clearing(c *cobra.Command) {
	f := c.Flags()
	for _, name := range []string{"not-before", "expires"} {
		if flag := f.Lookup(name); flag != nil {
			flag.Usage += "; none removes it"
		}
	}
	f.Bool("clear-tags", false, "remove all tags")
	c.MarkFlagsMutuallyExclusive("tag", "clear-tags")
}

// changedTags returns the tags that the flags set; nil when they say nothing.
func (at *attributes) changedTags(c *cobra.Command) (map[string]string, error) {
	if on, _ := c.Flags().GetBool("clear-tags"); on {
		return map[string]string{}, nil
	}
	return at.tagMap()
}

// changedEnabled returns what the flag says; nil when it was not given.
func (at *attributes) changedEnabled(c *cobra.Command) *bool {
	if !c.Flags().Changed("enabled") {
		return nil
	}
	return &at.enabled
}

func (at *attributes) tagMap() (map[string]string, error) {
	if len(at.tags) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(at.tags))
	for _, t := range at.tags {
		name, value, ok := strings.Cut(t, "=")
		if !ok || name == "" {
			return nil, usage("the tag %q is not of the form NAME=VALUE", t)
		}
		m[name] = value
	}
	return m, nil
}

// instant reads an instant as people write it.
func instant(flag, text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		t := time.Now().Add(d).UTC().Truncate(time.Second)
		return &t, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return &t, nil
		}
	}
	return nil, usage("--%s %q is no instant: write 2027-01-31T12:00:00Z, 2027-01-31 or a duration from now such as 720h", flag, text)
}
