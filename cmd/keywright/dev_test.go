package main

import "testing"

func TestTraceEndpointFollowsTheEnvironment(t *testing.T) {
	const base, endpoint, traces, disabled, exporter = "http://c:4318", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"nothing":        {nil, ""},
		"base":           {map[string]string{endpoint: base}, base + "/v1/traces"},
		"base and slash": {map[string]string{endpoint: base + "/"}, base + "/v1/traces"},
		"traces alone":   {map[string]string{endpoint: base, traces: "http://t/x"}, "http://t/x"},
		"disabled":       {map[string]string{endpoint: base, disabled: "TRUE"}, ""},
		"no exporter":    {map[string]string{traces: base, exporter: "none"}, ""},
	} {
		if got := traceEndpoint(func(key string) string { return c.env[key] }); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
