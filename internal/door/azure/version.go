package azure

import (
	"strings"

	"github.com/keywright/keywright/internal/fault"
)

// apiVersion is a protocol version's rank: a later version has a higher one. Shapes depend on it.
type apiVersion uint8

// The versions that clients are known to send, oldest first. A shape that differs names the version from which it does.
const (
	v2016 apiVersion = iota + 1
	v70
	v71
	v72
	v73
	v74Preview
	v74
	v75
	v76Preview
	v76
	v2025
	v2026
)

var apiVersions = map[string]apiVersion{
	"2016-10-01":    v2016,
	"7.0":           v70,
	"7.1":           v71,
	"7.2":           v72,
	"7.3":           v73,
	"7.4-preview.1": v74Preview,
	"7.4":           v74,
	"7.5":           v75,
	"7.6-preview.2": v76Preview,
	"7.6":           v76,
	"2025-07-01":    v2025,
	"2026-04-01":    v2026,
}

// serviceVersion is what x-ms-keyvault-service-version says; clients only show it.
const serviceVersion = "1.9.2000.0"

func parseVersion(s string) (apiVersion, error) {
	if v, ok := apiVersions[s]; ok {
		return v, nil
	}
	if s == "" {
		return 0, fault.New(fault.Invalid, "api-version must be specified: add ?api-version=7.6, or a later one, to the address")
	}
	if v, ok := apiVersions[strings.ToLower(s)]; ok {
		return v, nil
	}
	return 0, fault.New(fault.Invalid, "the specified api-version is not supported: use one of 7.0 to 7.6, 2025-07-01 or 2026-04-01")
}
