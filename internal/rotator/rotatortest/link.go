package rotatortest

import (
	"net"
	"sync"
)

// link is one connection of a client with the one to the server that belongs to it.
type link struct {
	proxy          *Proxy
	client, server net.Conn

	mu sync.Mutex
	// asking is true from the first byte of a request to the first byte of its reply.
	asking bool
	// lose is the fault that waits for the reply.
	lose *Fault
	gone bool
	once sync.Once
}

func (l *link) run() {
	var both sync.WaitGroup
	both.Go(l.requests)
	both.Go(l.replies)
	both.Wait()
	_ = l.client.Close()
	_ = l.server.Close()
	l.proxy.mu.Lock()
	delete(l.proxy.open, l)
	l.proxy.mu.Unlock()
}

// requests carries what the client says.
func (l *link) requests() {
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.client.Read(buffer)
		if n > 0 && !l.request(buffer[:n]) {
			return
		}
		if err != nil {
			l.leave()
			// A half-closed connection: the server sees the end, and its last reply still comes back.
			if tcp, ok := l.server.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			return
		}
	}
}

func (l *link) request(data []byte) (goOn bool) {
	l.mu.Lock()
	begins := !l.asking
	l.asking = true
	l.mu.Unlock()
	if begins {
		if f := l.proxy.next(); f != nil {
			switch f.kind {
			case LoseReply:
				l.mu.Lock()
				l.lose = f
				l.mu.Unlock()
			case CutRequest:
				close(f.hit) // first, so that who sees the cut sees the hit
				l.cut()
				return false
			case HoldRequest:
				close(f.hit)
				<-f.released
			}
		}
	}
	l.proxy.wait()
	if _, err := l.server.Write(data); err != nil {
		l.cut()
		return false
	}
	return true
}

// replies carries what the server says.
func (l *link) replies() {
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.server.Read(buffer)
		if n > 0 {
			l.mu.Lock()
			l.asking = false
			lose := l.lose
			l.mu.Unlock()
			if lose != nil {
				close(lose.hit)
				l.cut()
				return
			}
			l.proxy.wait()
			if _, err := l.client.Write(buffer[:n]); err != nil {
				l.leave()
			}
		}
		if err != nil {
			if tcp, ok := l.client.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			return
		}
	}
}

// leave notes that the client is gone.
func (l *link) leave() {
	l.mu.Lock()
	l.gone = true
	l.mu.Unlock()
}

func (l *link) left() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

// cut breaks both connections.
func (l *link) cut() {
	l.once.Do(func() {
		reset(l.client)
		reset(l.server)
	})
}
