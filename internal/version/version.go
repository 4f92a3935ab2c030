// Package version says which build this is.
package version

import (
	"runtime/debug"
	"strings"
)

// release is set by the linker for releases: -ldflags "-X github.com/keywright/keywright/internal/version.release=1.2.3".
var release string

// String returns the release or, for other builds, "dev" with the commit that it was built from.
func String() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	var commit, mark string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			mark = "+changed"
		}
	}
	return strings.TrimSuffix("dev-"+commit, "-") + mark
}
