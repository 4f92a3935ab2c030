package rotatortest

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Proxy is a TCP proxy on loopback that fails on demand. It counts requests: a request is what a client sends until the server answers, so a
// request of one protocol message and one of ten count the same. Counts go over all connections, since the fault was asked for.
type Proxy struct {
	upstream string
	address  string
	reserved int // a bound socket that never listens: the port stays ours while the proxy is down, and refuses

	mu       sync.Mutex
	listener net.Listener
	open     map[*link]struct{}
	fault    *Fault
	delay    time.Duration
	group    sync.WaitGroup
}

// Kind is what goes wrong with one request.
type Kind uint8

// The kinds of faults.
const (
	// LoseReply: the request goes through, its reply is thrown away and the connection is cut.
	LoseReply Kind = iota
	// CutRequest: the connection is cut before the request goes through.
	CutRequest
	// HoldRequest: the request arrives only when Fault.Release is called, though the client may be gone by then.
	HoldRequest
)

// String names the kind.
func (k Kind) String() string { return [...]string{"lost reply", "cut request", "held request"}[k] }

// Fault is a fault that was asked for.
type Fault struct {
	proxy    *Proxy
	kind     Kind
	request  int
	seen     int
	hit      chan struct{}
	released chan struct{}
	once     sync.Once
}

// Hit is closed when the request came by.
func (f *Fault) Hit() <-chan struct{} { return f.hit }

// WasHit reports whether the request came by.
func (f *Fault) WasHit() bool {
	select {
	case <-f.hit:
		return true
	default:
		return false
	}
}

// Release lets a held request go on. Calling it again does nothing.
func (f *Fault) Release() { f.once.Do(func() { close(f.released) }) }

// StartProxy starts a proxy before upstream; it ends with the test.
func StartProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	p := &Proxy{upstream: upstream, open: map[*link]struct{}{}}
	var err error
	if p.reserved, p.address, err = reserve(); err != nil {
		t.Fatalf("reserving a port: %v", err)
	}
	if err := p.Up(); err != nil {
		t.Fatalf("starting the proxy: %v", err)
	}
	t.Cleanup(func() {
		p.Heal()
		p.Down()
		p.group.Wait()
		_ = unix.Close(p.reserved)
	})
	return p
}

// Address is where clients reach the proxy.
func (p *Proxy) Address() string { return p.address }

// Down cuts every connection and refuses new ones.
func (p *Proxy) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for l := range p.open {
		l.cut()
	}
}

// Up accepts connections again.
func (p *Proxy) Up() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return nil
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		if err := raw.Control(func(fd uintptr) { failed = shareable(int(fd)) }); err != nil {
			return err
		}
		return failed
	}}
	l, err := config.Listen(context.Background(), "tcp4", p.address)
	if err != nil {
		return err
	}
	p.listener = l
	p.group.Go(func() { p.accept(l) })
	return nil
}

// Fail asks for a fault at the n-th request from now, counted from 1.
func (p *Proxy) Fail(kind Kind, n int) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = &Fault{proxy: p, kind: kind, request: n, hit: make(chan struct{}), released: make(chan struct{})}
	return p.fault
}

// seen is how many requests came by since the fault was asked for.
func (p *Proxy) seen(f *Fault) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f.seen
}

// Delay makes each request and each reply wait.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Heal takes back every fault and delay, and releases what is held.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault != nil {
		p.fault.Release()
	}
	p.fault, p.delay = nil, 0
}

// Open is how many connections of clients there are.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.open {
		if !l.left() {
			n++
		}
	}
	return n
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.DialTimeout("tcp", p.upstream, 5*time.Second)
		if err != nil {
			reset(client)
			continue
		}
		link := &link{proxy: p, client: client, server: server}
		p.mu.Lock()
		p.open[link] = struct{}{}
		p.mu.Unlock()
		p.group.Go(link.run)
	}
}

// next counts a request and returns the fault that strikes it, or nil.
func (p *Proxy) next() *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == nil {
		return nil
	}
	if p.fault.seen++; p.fault.seen != p.fault.request {
		return nil
	}
	return p.fault
}

func (p *Proxy) wait() {
	p.mu.Lock()
	d := p.delay
	p.mu.Unlock()
	if d > 0 {
		time.Sleep(d)
	}
}

// reserve binds a free port of loopback without listening.
func reserve() (fd int, address string, err error) {
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, "", err
	}
	if err = shareable(fd); err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, "", err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		_ = unix.Close(fd)
		return 0, "", err
	}
	own := name.(*unix.SockaddrInet4)
	return fd, (&net.TCPAddr{IP: own.Addr[:], Port: own.Port}).String(), nil
}

func shareable(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }

// reset closes so that the other side sees a broken connection and not an end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
