package server

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// traces is a collector that keeps what it is sent.
type traces struct {
	mu    sync.Mutex
	raw   bytes.Buffer
	spans []*otlp.Span
}

func startCollector(t *testing.T) (*traces, string) {
	c := &traces{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &in) != nil {
			t.Errorf("the collector got %s %s with %d bytes that it cannot read", r.Method, r.URL, len(body))
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(body)
		for _, resource := range in.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	return c, s.URL + "/v1/traces"
}

// bytes is everything that was sent.
func (c *traces) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.raw.Bytes())
}

// has reports whether a span of the name was sent.
func (c *traces) has(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.spans, func(s *otlp.Span) bool { return s.Name == name })
}

// find returns the spans of a trace with the name.
func (c *traces) find(trace, name string) (found []*otlp.Span) {
	for _, s := range c.spans {
		if hex.EncodeToString(s.TraceId) == trace && s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

func attributeOf(s *otlp.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return strings.Trim(strings.SplitN(a.Value.String(), ":", 2)[1], `"`)
		}
	}
	return ""
}

func TestTracesTellWhereRequestsSpendTheirTime(t *testing.T) {
	c, endpoint := startCollector(t)
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), TraceEndpoint: endpoint}})
	azure := d.azure(t)
	const canary = "canary7f3a"
	const putTrace, getTrace, lostTrace = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c", "2af7651916cd43dd8448eb211c80319c"
	parent := func(trace string) []string {
		return []string{"Traceparent", "00-" + trace + "-b7ad6b7169203331-01", "Tracestate", "x=" + canary, "User-Agent", canary}
	}
	d.core.keys.Flush()
	put, _ := azure.do("PUT", "/secrets/"+canary+"?api-version=7.6", `{"value":"`+canary+`"}`, parent(putTrace)...)
	azure.do("GET", "/secrets/"+canary+"?api-version=7.6", "", parent(getTrace)...)
	azure.do("GET", "/"+canary+"/"+canary+"?api-version=7.6&x="+canary, "", parent(lostTrace)...)
	azure.do("GET", "/secrets/none"+canary+"?api-version=7.6", "", parent(lostTrace)...)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	set := c.find(putTrace, "azure SecretSet")
	if len(set) != 1 {
		t.Fatalf("the request has %d spans below its caller's; there are %v", len(set), spanNames(c.spans))
	}
	for key, want := range map[string]string{"keywright.door": "azure", "keywright.operation": "SecretSet", "http.response.status_code": "200",
		"keywright.correlation_id": put.Header.Get("X-Ms-Request-Id"), "keywright.vault.id": string(d.estate.Vault)} {
		if got := attributeOf(set[0], key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if hex.EncodeToString(set[0].ParentSpanId) != "b7ad6b7169203331" || set[0].Kind != otlp.Span_SPAN_KIND_SERVER {
		t.Errorf("the request's span is %v", set[0])
	}
	for _, inner := range []string{"store update", "keyring view"} {
		if spans := c.find(putTrace, inner); len(spans) == 0 {
			t.Errorf("no span %q is in the request's trace, which has %v", inner, spanNames(c.spans))
		}
	}
	if spans := c.find(getTrace, "audit append"); len(spans) != 1 || !bytes.Equal(spans[0].ParentSpanId, c.find(getTrace, "azure SecretGet")[0].SpanId) {
		t.Errorf("the read's audit record has the spans %v", spans)
	}
	if len(c.find(lostTrace, "azure none")) != 1 {
		t.Errorf("the request without a route is not among %v", spanNames(c.spans))
	}
	if bytes.Contains(c.raw.Bytes(), []byte(canary)) {
		t.Error("the traces tell a value, a name, or what a caller chose")
	}
}

func spanNames(spans []*otlp.Span) (list []string) {
	for _, s := range spans {
		list = append(list, s.Name)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func TestTracesAreOffWithoutAnEndpoint(t *testing.T) {
	d := startDev(t, t.TempDir())
	if d.core.tracer != nil {
		t.Error("a server traces without having been told where to")
	}
	if _, traced := d.core.store.(*tracedStore); traced {
		t.Error("transactions are wrapped although nothing is traced")
	}
}

func TestDeadCollectorDelaysNothing(t *testing.T) {
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), TraceEndpoint: "http://127.0.0.1:1/v1/traces"}})
	if answer, body := d.azure(t).do("PUT", "/secrets/one?api-version=7.6", `{"value":"x"}`); answer.StatusCode != 200 {
		t.Error(body)
	}
}

func TestTraceEndpointIsChecked(t *testing.T) {
	for _, endpoint := range []string{"127.0.0.1:4318", "grpc://x", "http://", "::"} {
		if _, _, err := newTracer(t.Context(), endpoint, nil); err == nil {
			t.Errorf("%q was taken", endpoint)
		}
	}
}
