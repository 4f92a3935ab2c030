package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/version"
)

// tracer tells a collector, in the OpenTelemetry protocol over HTTP, where requests spend their time. Spans hold ids and
// words of our own: no value, no name of an object, no path, no header, no text of an error. A nil tracer is off and
// costs nothing: nothing is wrapped.
type tracer struct {
	spans trace.Tracer
}

// flushTimeout bounds how long a server that ends waits for its collector.
const flushTimeout = time.Second

// newTracer begins to export to the endpoint, or returns nil when there is none. Sampling, headers, batches and the
// service's name follow the OTEL_ environment variables of the OpenTelemetry specification. A collector that does not
// answer loses spans and delays nothing. stop exports what is left.
func newTracer(ctx context.Context, endpoint string, log *slog.Logger) (t *tracer, stop func(context.Context) error, err error) {
	if endpoint == "" {
		return nil, func(context.Context) error { return nil }, nil
	}
	if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, errors.New("the trace endpoint is not an http or https URL: give the whole address, such as http://127.0.0.1:4318/v1/traces")
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, nil, fmt.Errorf("preparing the export of traces: %w", err)
	}
	// Only what is named here, and the environment: detectors would add the command line.
	service, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "keywright"),
		attribute.String("service.version", version.String())), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("reading the resource attributes for traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces could not be exported", "error", err) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(service))
	stop = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("the last traces could not be exported", "error", err)
		}
		return nil // lost spans are no reason to report a failed end
	}
	return &tracer{provider.Tracer("github.com/keywright/keywright")}, stop, nil
}

// handler wraps the doors in a span per request, below the caller's own when it sends a traceparent (W3C Trace Context).
// The caller's tracestate is left out: it is text of its choice.
func (t *tracer) handler(h http.Handler) http.Handler {
	if t == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.MapCarrier{"traceparent": r.Header.Get("Traceparent")})
		ctx, span := t.spans.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// observe names the request's span once it is known what it was.
func (t *tracer) observe(doorName string, r *door.Request, status int) {
	if t == nil {
		return
	}
	span := trace.SpanFromContext(r.HTTP.Context())
	if !span.IsRecording() {
		return
	}
	operation := operationOf(r)
	span.SetName(doorName + " " + operation)
	span.SetAttributes(attribute.String("keywright.door", doorName), attribute.String("keywright.operation", operation),
		attribute.Int("http.response.status_code", status), attribute.String("keywright.correlation_id", r.Call.Correlation))
	if c := r.Call.Caller; c != nil {
		span.SetAttributes(attribute.String("keywright.tenant.id", string(c.Tenant)), attribute.String("keywright.principal.id", string(c.Principal)))
	}
	if v := r.Call.Vault; v != nil {
		span.SetAttributes(attribute.String("keywright.vault.id", string(v.Vault.ID)))
	}
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
}

var noSpan trace.Span = noop.Span{}

// start begins a span within a request's; work that belongs to no traced request gets none.
func (t *tracer) start(ctx context.Context, name string) (context.Context, trace.Span) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, noSpan
	}
	return t.spans.Start(ctx, name)
}

// end ends a span. Of an error it tells the kind and reason alone: messages name objects.
func end(span trace.Span, err error) {
	if err != nil {
		span.SetAttributes(attribute.String("error.type", fault.Of(err).String()))
		if e := fault.As(err); e != nil && e.Reason != "" {
			span.SetAttributes(attribute.String("keywright.reason", string(e.Reason)))
		}
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// store wraps a store so that its transactions are spans: "WHAT view" and "WHAT update".
func (t *tracer) store(s store.Store, what string) store.Store {
	if t == nil {
		return s
	}
	return &tracedStore{s, t, what + " view", what + " update"}
}

type tracedStore struct {
	store.Store
	tracer       *tracer
	view, update string
}

// View implements store.Store.
func (s *tracedStore) View(ctx context.Context, fn func(store.Tx) error) error {
	ctx, span := s.tracer.start(ctx, s.view)
	err := s.Store.View(ctx, fn)
	end(span, err)
	return err
}

// Update implements store.Store.
func (s *tracedStore) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	ctx, span := s.tracer.start(ctx, s.update)
	span.SetAttributes(attribute.String("keywright.operation.id", string(op.ID)))
	err := s.Store.Update(ctx, op, fn)
	end(span, err)
	return err
}
