package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/door/native"
	"github.com/keywright/keywright/internal/fault"
)

// localSocket is the name of the socket in the server's directory.
const localSocket = "admin.sock"

// Bounds of the socket's paths and bodies, in bytes: see unix(7) for the first.
const (
	maxSocketPath = 107
	maxLocalBody  = 16 << 10
)

// localDoor serves the operators of the machine over a socket in the server's directory, before the store can be opened, and without signing in. Who gets
// through is the server's own user, and root, both of whom have the server's files and memory anyway; the kernel tells who it is.
type localDoor struct {
	seal *sealing
	log  *slog.Logger
}

// peer is the context's key of who is at the other end.
type peer struct{}

// openLocalDoor listens in the directory. A socket that nobody answers on is one of a process that ended, and is replaced.
func openLocalDoor(dir string, s *sealing, log *slog.Logger) (stop func(context.Context) error, err error) {
	address, done, err := socketAddress(dir)
	if err != nil {
		return nil, err
	}
	if conn, err := net.DialTimeout("unix", address, time.Second); err == nil {
		conn.Close()
		done()
		return nil, fmt.Errorf("another server answers on %s: stop it first", filepath.Join(dir, localSocket))
	}
	if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		done()
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		done()
		return nil, fmt.Errorf("listening on %s: %w", filepath.Join(dir, localSocket), err)
	}
	// The directory is for this user alone, so nobody else could connect meanwhile.
	if err := os.Chmod(address, 0o600); err != nil {
		l.Close()
		done()
		return nil, err
	}
	d := &localDoor{seal: s, log: log}
	server := &http.Server{Handler: d.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, MaxHeaderBytes: 8 << 10, ConnContext: identify,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	return func(ctx context.Context) error {
		defer done()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, nil
}

// socketAddress is the socket's path, or a short one to the same place where the system takes none of that length.
func socketAddress(dir string) (address string, done func() error, err error) {
	if address = filepath.Join(dir, localSocket); len(address) <= maxSocketPath {
		return address, func() error { return nil }, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), localSocket), d.Close, nil
}

// identify puts the user at the other end into the context, if it may be there.
func identify(ctx context.Context, c net.Conn) context.Context {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return ctx
	}
	var who *unix.Ucred
	if raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return ctx
	}
	if who.Uid != 0 && int(who.Uid) != os.Geteuid() {
		return ctx
	}
	return context.WithValue(ctx, peer{}, fmt.Sprintf("user id %d", who.Uid))
}

func (d *localDoor) handler() http.Handler {
	mux := http.NewServeMux()
	const at = "/v1/seal"
	mux.HandleFunc("GET "+at, d.serve(func(r *http.Request, _ string) (any, error) { return d.seal.status(r.Context()) }))
	mux.HandleFunc("POST "+at+"/shares", d.serve(func(r *http.Request, who string) (any, error) {
		var in api.GiveShare
		if err := decode(r, &in); err != nil {
			return nil, err
		}
		share := []byte(in.Share)
		defer clear(share)
		return d.seal.give(r.Context(), who, share)
	}))
	mux.HandleFunc("DELETE "+at+"/shares", d.serve(func(r *http.Request, who string) (any, error) { return d.seal.reset(r.Context(), who) }))
	mux.HandleFunc("POST "+at+"/move", d.serve(func(r *http.Request, who string) (any, error) {
		var in api.MoveSeal
		if err := decode(r, &in); err != nil {
			return nil, err
		}
		return d.seal.move(r.Context(), who, &in)
	}))
	mux.HandleFunc("POST "+at+"/move/finish", d.serve(func(r *http.Request, who string) (any, error) { return d.seal.finish(r.Context(), who) }))
	mux.HandleFunc("DELETE "+at+"/move", d.serve(func(r *http.Request, who string) (any, error) { return d.seal.giveUp(r.Context(), who) }))
	mux.HandleFunc("GET /v1/keyring", d.serve(func(r *http.Request, _ string) (any, error) {
		return d.seal.keyStates(r.Context(), r.URL.Query().Get("tenant"))
	}))
	mux.HandleFunc("POST /v1/keyring/rotate", d.serve(func(r *http.Request, who string) (any, error) {
		var in api.RotateKeys
		if err := decode(r, &in); err != nil {
			return nil, err
		}
		return d.seal.rotate(r.Context(), who, r.URL.Query().Get("tenant"), &in)
	}))
	return mux
}

// serve answers with what work returns. What was begun is not left half done because somebody closed a terminal.
func (d *localDoor) serve(work func(r *http.Request, who string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, _ := r.Context().Value(peer{}).(string)
		if who == "" {
			native.Problem(w, fault.New(fault.Forbidden, "this is for the server's own user and root: become one of them"))
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Minute)
		defer cancel()
		out, err := work(r.WithContext(ctx), who)
		if err != nil {
			if fault.As(err) == nil {
				d.log.ErrorContext(ctx, "an operation with the seal failed", "path", r.URL.Path, "error", err)
			}
			native.Problem(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if err := json.NewEncoder(w).Encode(out); err != nil {
			d.log.DebugContext(ctx, "an answer could not be sent", "error", err)
		}
	}
}

func decode(r *http.Request, in any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, maxLocalBody))
	dec.DisallowUnknownFields()
	if dec.Decode(in) != nil {
		return fault.New(fault.Invalid, "the body of the request is not what this operation takes: use the client of the same release")
	}
	return nil
}

// sealedDoor answers on the network while the server is sealed: it is healthy, not ready, and serves nothing.
func sealedDoor(s *sealing) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := s.progress()
		w.Header().Set("Cache-Control", "no-store")
		switch r.URL.Path {
		case "/healthz":
			answerHealth(w, http.StatusOK, api.Health{Status: api.HealthOK})
		case "/readyz":
			answerHealth(w, http.StatusServiceUnavailable, api.Health{Status: api.HealthFailing,
				Checks: []api.Check{{Name: "keyring", Status: api.HealthFailing, Detail: p.String()}}})
		default:
			w.Header().Set("Retry-After", "10")
			native.Problem(w, errSealed)
		}
	})
}

func answerHealth(w http.ResponseWriter, status int, h api.Health) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(h) // whoever asks for health asks again
}

// borrowed lends a listener that is served on again afterwards: closing it only ends who waits for connections.
type borrowed struct{ *net.TCPListener }

func (b borrowed) Close() error { return b.SetDeadline(time.Unix(1, 0)) }

// lend serves a handler on a listener until stop, after which others may serve on it. It takes connections from the networks alone, if there are any.
func lend(l *net.TCPListener, networks []netip.Prefix, secure *tls.Config, h http.Handler, log *slog.Logger) (stop func()) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10,
		TLSConfig: secure, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Its error is that of the end; should the listener fail, whoever serves on it next says so.
		_ = server.Serve(tls.NewListener(only(borrowed{l}, networks), secure))
	}()
	return func() {
		server.Close()
		<-ended
		_ = l.SetDeadline(time.Time{})
	}
}

// lendAll lends the TLS listeners of a production server, each to whom it will serve.
func lendAll(f *config.File, open bound, certs *certificates, h http.Handler, log *slog.Logger) (stop func()) {
	secure := &tls.Config{MinVersion: leastTLS(f), GetCertificate: certs.certificate, NextProtos: []string{"http/1.1"}}
	networks := map[string][]netip.Prefix{"admin": f.Listeners.Admin.Networks, "public": nil}
	if p := f.Listeners.Private; p != nil {
		networks["private"] = p.Networks
	}
	var stops []func()
	for name, from := range networks {
		if l, ok := open[name].(*net.TCPListener); ok {
			stops = append(stops, lend(l, from, secure, h, log))
		}
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}
