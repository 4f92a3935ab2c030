package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/oauth"
	"github.com/keywright/keywright/internal/fault"
)

// Production is a running production server.
type Production struct {
	*Server
	file  *config.File
	certs *certificates
	// listening has the address of each listener, by its name in the configuration.
	listening map[string]net.Addr
}

// Start starts what a configuration describes, and returns when every listener answers. Whatever comes on reload makes it look at the certificates. A store that
// was not initialised, a seal that does not open and a certificate that is over keep it from starting.
func Start(ctx context.Context, f *config.File, c Config, reload <-chan os.Signal) (_ *Production, err error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if err := c.ownDir(); err != nil {
		return nil, err
	}
	p := &Production{file: f, Server: &Server{config: c, failed: make(chan error, 8), hurry: make(chan struct{})}, listening: map[string]net.Addr{}}
	if p.certs, err = openCertificates(pairs(f.TLS.Certificates), f.TLS.Warn, c.Clock, c.Logger); err != nil {
		return nil, err
	}
	open, err := bind(f)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			open.close()
		}
	}()
	own := ownNames(f, open)
	p.config.WhileSealed = func(h http.Handler) (func(), error) { return lendAll(f, open, p.certs, h, c.Logger), nil }
	if p.core, err = openCore(ctx, &p.config, own.issuerOf, "https://"+own.api+own.port, own.eventLinks(own.api+own.port)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	there, err := findInstallation(ctx, p.core.store)
	if err != nil {
		return nil, err
	}
	if err := p.listen(open, own, there); err != nil {
		return nil, err
	}
	p.core.metrics.watchCertificates(p.certs, c.Clock)
	p.core.background(func(ctx context.Context) { p.certs.run(ctx, f.TLS.Reload, reload) })
	p.core.background(p.core.identity.Run)
	p.warnOfNames(own)
	return p, nil
}

// Addr returns the address of a listener by its name in the configuration; nil when there is none.
func (p *Production) Addr(listener string) net.Addr { return p.listening[listener] }

func pairs(list []config.Pair) (files []pairFiles) {
	for _, p := range list {
		files = append(files, pairFiles{string(p.CertificateFile), string(p.KeyFile)})
	}
	return files
}

// ownDir checks the directory of the node. A further node of an installation whose store is elsewhere makes its own.
func (c *Config) ownDir() error {
	if c.Store.DSNFile != "" {
		if err := mkdir(c.Dir); err != nil {
			return err
		}
	}
	return checkDir(c.Dir)
}

// checkDir refuses a directory that is not there, because nothing was initialised, and one that others can enter.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fault.New(fault.Invalid, "the directory %s does not exist: run \"keywright init\" with the same configuration first", dir).Because(NotInitialised)
	case err != nil:
		return fault.Wrap(err, fault.Unavailable, "the directory %s cannot be looked at: check that this user may enter it", dir)
	case !info.IsDir():
		return fault.New(fault.Invalid, "%s is not a directory: name one", dir)
	case info.Mode().Perm()&0o077 != 0:
		return fault.New(fault.Invalid, "others can use the directory %s (mode %04o): run chmod 0700 on it", dir, info.Mode().Perm())
	}
	return nil
}

// bound are the listeners that are open, by their names in the configuration.
type bound map[string]net.Listener

func (b bound) close() {
	for _, l := range b {
		l.Close()
	}
}

// listenerNames are the listeners that there can be, by their names in the configuration.
var listenerNames = []string{"admin", "public", "private", "plain", "identity"}

// addressOf is where a listener is to listen; empty when there is none.
func addressOf(f *config.File, listener string) string {
	switch l := f.Listeners; {
	case listener == "admin":
		return string(l.Admin.Address)
	case listener == "public" && l.Public != nil:
		return string(l.Public.Address)
	case listener == "private" && l.Private != nil:
		return string(l.Private.Address)
	case listener == "plain" && l.Plain != nil:
		return string(l.Plain.Address)
	case listener == "identity" && l.Identity != nil:
		return string(l.Identity.Address)
	}
	return ""
}

// bind opens every listener before anything else is: an address that another program has is told at once, and clients that come early wait.
func bind(f *config.File) (bound, error) {
	b := bound{}
	var errs []error
	for _, name := range listenerNames {
		address := addressOf(f, name)
		if address == "" {
			continue
		}
		open, err := net.Listen("tcp", address)
		if err != nil {
			errs = append(errs, fault.Wrap(err, fault.Unavailable, "the listener %s cannot have the address %s: end what has it, or write another into listeners.%s.address", name, address, name))
			continue
		}
		b[name] = open
	}
	if len(errs) > 0 {
		b.close()
		return nil, errors.Join(errs...)
	}
	return b, nil
}

// ownNames are the names of the server for everybody.
func ownNames(f *config.File, b bound) names {
	l := b["public"]
	if l == nil {
		l = b["private"]
	}
	return namesOf(&f.Names, l.Addr())
}

// namesOf turns names of the configuration into those of doors. at is where they are served, whose port clients use unless the configuration says otherwise.
func namesOf(c *config.Names, at net.Addr) names {
	port := c.Port
	if port == 0 {
		port = at.(*net.TCPAddr).Port
	}
	n := namesFor(string(c.Suffix), ":"+strconv.Itoa(port))
	for _, own := range []struct {
		name *string
		set  config.Name
	}{{&n.login, c.Login}, {&n.arm, c.Management}, {&n.graph, c.Directory}, {&n.api, c.API}} {
		if own.set != "" {
			*own.name = string(own.set)
		}
	}
	n.federated = c.ChallengeTenant == challengeByName
	return n
}

// listen starts the doors of every listener.
func (p *Production) listen(b bound, own names, in *installation) error {
	p.core.issuers.suffix.Store(&own.suffix)
	secure := p.listenerConfig(p.certs.certificate, leastTLS(p.file))
	l := p.file.Listeners
	stand := func(n names, at net.Addr, management bool) (*serving, error) {
		port := strconv.Itoa(at.(*net.TCPAddr).Port)
		return (&site{Server: p.Server, names: n, tenant: in.Tenant, base: called(at), also: []string{"https://" + n.api + ":" + port}, withoutManagement: !management}).open()
	}
	admin, err := stand(own, b["admin"].Addr(), true)
	if err != nil {
		return err
	}
	p.on("admin", only(b["admin"], l.Admin.Networks), p.adminHandler(admin.all), secure, door.Listener{})
	if l.Public != nil {
		public, err := stand(own, b["public"].Addr(), l.Public.Management)
		if err != nil {
			return err
		}
		p.on("public", b["public"], public.handler, secure, door.Listener{WithoutAdministration: !l.Public.Administration})
	}
	if l.Private != nil {
		private, err := p.privateHandler(stand, own, b["private"].Addr())
		if err != nil {
			return err
		}
		p.on("private", only(b["private"], l.Private.Networks), private, secure, door.Listener{Private: true, WithoutAdministration: !l.Private.Administration})
	}
	if l.Plain != nil {
		p.core.issuers.authorities.listensAt(strings.TrimSuffix(string(l.Plain.URL), "/"))
		p.on("plain", b["plain"], p.plainHandler(), nil, door.Listener{})
	} else {
		p.core.issuers.authorities.listensNowhere()
	}
	if l.Identity != nil {
		s := &site{Server: p.Server, names: own, tenant: in.Tenant}
		managed, err := oauth.NewManaged(s.oauthConfig())
		if err != nil {
			return err
		}
		p.on("identity", b["identity"], localOnly(p.core.tracer.handler(managed)), nil, door.Listener{})
	}
	return nil
}

// leastTLS is the oldest version of TLS that listeners speak.
func leastTLS(f *config.File) uint16 {
	return map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[f.TLS.MinVersion]
}

// called is the host and port by which a listener is called without a name: none if it listens on every address.
func called(at net.Addr) string {
	if at.(*net.TCPAddr).IP.IsUnspecified() {
		return ""
	}
	return at.String()
}

// on serves a listener.
func (p *Production) on(name string, l net.Listener, h http.Handler, secure *tls.Config, way door.Listener) {
	p.listeners = append(p.listeners, l)
	p.listening[name] = l.Addr()
	p.serve(l, h, secure, way)
}

// privateHandler answers to the server's names and to those that private networks alone know.
func (p *Production) privateHandler(stand func(names, net.Addr, bool) (*serving, error), own names, at net.Addr) (http.Handler, error) {
	l := p.file.Listeners.Private
	usual, err := stand(own, at, l.Management)
	if err != nil || l.Names == nil {
		if err != nil {
			return nil, err
		}
		return usual.handler, nil
	}
	n := namesOf(l.Names, at)
	more, err := stand(n, at, l.Management)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.owns(hostOnly(r.Host)) {
			more.handler.ServeHTTP(w, r)
			return
		}
		usual.handler.ServeHTTP(w, r)
	}), nil
}

// owns reports whether a host is one of these names, or a vault's below their suffix.
func (n *names) owns(host string) bool {
	return slices.Contains([]string{n.login, n.arm, n.graph, n.api}, host) || strings.HasSuffix(host, "."+n.suffix)
}

// adminHandler serves administrators and monitoring: metrics, sign-in, and the native API at every other host and path.
func (p *Production) adminHandler(doors *dispatch) http.Handler {
	metrics := p.core.metrics.handler()
	return p.core.tracer.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/metrics":
			metrics.ServeHTTP(w, r)
		case hostOnly(r.Host) == doors.names.login || oauth.Owns(r.URL.Path):
			doors.login.ServeHTTP(w, r)
		default:
			doors.nativ.ServeHTTP(w, r)
		}
	}))
}

// warnOfNames says which names no certificate covers: clients that ask for them refuse the server.
func (p *Production) warnOfNames(n names) {
	for _, name := range n.all() {
		if !p.certs.covers(name) {
			p.core.log.Warn("no certificate of the listeners covers a name of the server, so that its clients refuse it", "name", name)
		}
	}
}

// all are the names of the server, with one that stands for every vault.
func (n *names) all() []string { return []string{n.api, n.login, n.arm, n.graph, "any." + n.suffix} }

// watchCertificates adds the state of the listeners' certificates.
func (m *metrics) watchCertificates(s *certificates, c interface{ Now() time.Time }) {
	for _, g := range []state{
		{"keywright_tls_certificate_expiry_seconds", "How long the certificate of the listeners is valid that ends first; negative behind its end.",
			func() float64 { return s.ends().Sub(c.Now()).Seconds() }},
		{"keywright_tls_reload_failing", "1 while the certificate files do not work, so that those before go on.", func() float64 { return boolean(s.problem() != nil) }},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, g.read))
	}
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "keywright_tls_reloads_total", Help: "New certificates that were taken from the files."},
		func() float64 { return float64(s.reloads.Load()) }))
}

// plainHandler serves what is asked before any trust is there, to everybody.
func (p *Production) plainHandler() http.Handler {
	return p.core.plainly(http.NotFoundHandler())
}
