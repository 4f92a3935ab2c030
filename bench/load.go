package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// target is a server under load.
type target struct {
	name    string
	address string
	host    string
	roots   *x509.CertPool
	pid     int
}

// source gives each connection its next request: the bytes to send.
type source func(connection, n int) []byte

// result is what one measurement saw.
type result struct {
	requests int64
	elapsed  time.Duration
	cpu      time.Duration
	latency  []time.Duration
}

func (r *result) perSecond() float64 { return float64(r.requests) / r.elapsed.Seconds() }

// cpuPerRequest is the server's CPU time per request in microseconds.
func (r *result) cpuPerRequest() float64 {
	return float64(r.cpu.Microseconds()) / float64(r.requests)
}

func (r *result) p50() time.Duration {
	if len(r.latency) == 0 {
		return 0
	}
	slices.Sort(r.latency)
	return r.latency[len(r.latency)/2]
}

// load sends requests over so many keep-alive connections for so long, and measures.
func load(t *target, connections int, d time.Duration, next source) (*result, error) {
	conns := make([]*conn, connections)
	for i := range conns {
		c, err := dial(t)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		conns[i] = c
		if err := c.roundTrip(next(i, 0)); err != nil { // warm: handshake, caches
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	before, err := cpuTime(t.pid)
	if err != nil {
		return nil, err
	}
	var stop atomic.Bool
	var total atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	latencies := make([][]time.Duration, connections)
	start := time.Now()
	for i, c := range conns {
		all.Go(func() {
			for n := 1; !stop.Load(); n++ {
				began := time.Now()
				if err := c.roundTrip(next(i, n)); err != nil {
					failed.Store(&err)
					stop.Store(true)
					return
				}
				total.Add(1)
				if n%16 == 0 || connections == 1 {
					latencies[i] = append(latencies[i], time.Since(began))
				}
			}
		})
	}
	time.Sleep(d)
	stop.Store(true)
	all.Wait()
	elapsed := time.Since(start)
	after, err := cpuTime(t.pid)
	if err != nil {
		return nil, err
	}
	if err := failed.Load(); err != nil {
		return nil, fmt.Errorf("%s: %w", t.name, *err)
	}
	return &result{requests: total.Load(), elapsed: elapsed, cpu: after - before, latency: slices.Concat(latencies...)}, nil
}

// conn is a keep-alive connection that spends as little as it can: the generator shares the cores with the server.
type conn struct {
	*tls.Conn
	in *bufio.Reader
}

func dial(t *target) (*conn, error) {
	c, err := tls.Dial("tcp", t.address, &tls.Config{RootCAs: t.roots, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", t.name, err)
	}
	return &conn{c, bufio.NewReaderSize(c, 8<<10)}, nil
}

var contentLength = []byte("Content-Length: ")

// roundTrip sends a request and reads its answer, which must be a 200 with a Content-Length.
func (c *conn) roundTrip(request []byte) error {
	status, body, err := c.exchange(request)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("answered %d: %s", status, body)
	}
	return err
}

// exchange sends a request and reads its answer, which must have a Content-Length. The body of a good answer is thrown away.
func (c *conn) exchange(request []byte) (status int, body []byte, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, nil, err
	}
	first, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(first) < len("HTTP/1.1 200") {
		return 0, nil, fmt.Errorf("answered %q", first)
	}
	if status, err = strconv.Atoi(string(first[9:12])); err != nil {
		return 0, nil, fmt.Errorf("answered %q", first)
	}
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		if len(line) <= 2 {
			break
		}
		if bytes.HasPrefix(line, contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return 0, nil, err
			}
		}
	}
	if length < 0 {
		return 0, nil, errors.New("an answer has no Content-Length")
	}
	if status != http.StatusOK {
		body = make([]byte, length)
		_, err = io.ReadFull(c.in, body)
		return status, body, err
	}
	_, err = c.in.Discard(length)
	return status, nil, err
}
