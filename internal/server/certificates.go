package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/fault"
)

// maxPairFile bounds a file with certificates or a key, in bytes.
const maxPairFile = 1 << 20

// pairFiles are the files of a certificate with those between it and the root, and of its key, in PEM.
type pairFiles struct{ certificate, key string }

// certificates serves TLS from files, and takes what comes to lie in them while it serves. A new pair that does not work changes nothing but raises an alarm: the one
// in use goes on.
type certificates struct {
	files []pairFiles
	clock clock.Clock
	log   *slog.Logger
	// warn is how long before its end a certificate is spoken of.
	warn time.Duration

	serving atomic.Pointer[[]*tls.Certificate]
	// failing is the error of the newest look that failed, nil behind one that did not; reloads counts the new pairs that were taken.
	failing atomic.Pointer[error]
	reloads atomic.Int64

	// mu guards what follows and lets one look happen at a time.
	mu   sync.Mutex
	seen [sha256.Size]byte
	told time.Time
}

// openCertificates reads the files. A pair that does not work, or one that is over, is a fault.Invalid.
func openCertificates(files []pairFiles, warn time.Duration, c clock.Clock, log *slog.Logger) (*certificates, error) {
	s := &certificates{files: files, clock: c, log: log, warn: warn}
	pairs, sum, err := s.read()
	if err != nil {
		return nil, err
	}
	s.seen = sum
	s.serving.Store(&pairs)
	return s, nil
}

// read reads all pairs. sum changes with what is in the files.
func (s *certificates) read() (pairs []*tls.Certificate, sum [sha256.Size]byte, err error) {
	digest := sha256.New()
	for _, f := range s.files {
		chain, err := os.ReadFile(f.certificate)
		if err != nil {
			return nil, sum, fault.Wrap(err, fault.Invalid, "the certificate file %s cannot be read: check that it is there and that this user may read it", f.certificate)
		}
		key, err := config.ReadSecretFile(f.key, maxPairFile)
		if err != nil {
			return nil, sum, fault.Wrap(err, fault.Invalid, "the key file %s of the certificate cannot be used", f.key)
		}
		digest.Write(chain)
		digest.Write(key)
		pair, err := tls.X509KeyPair(chain, key)
		clear(key)
		if err != nil {
			return nil, sum, fault.Wrap(err, fault.Invalid, "the certificate in %s and the key in %s are no pair: put both there as PEM", f.certificate, f.key)
		}
		if err := s.check(&pair, f); err != nil {
			return nil, sum, err
		}
		pairs = append(pairs, &pair)
	}
	return pairs, [sha256.Size]byte(digest.Sum(nil)), nil
}

func (s *certificates) check(pair *tls.Certificate, f pairFiles) error {
	now := s.clock.Now()
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return fault.New(fault.Invalid, "the certificate in %s expired on %s, and no client would take it: put a new one there", f.certificate, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fault.New(fault.Invalid, "the certificate in %s is not valid before %s: check the clock, or put another one there", f.certificate, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// certificate answers a TLS handshake with the first pair that covers the name, or else the first of all.
func (s *certificates) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	pairs := *s.serving.Load()
	if name := strings.TrimSuffix(hello.ServerName, "."); name != "" {
		for _, p := range pairs {
			if p.Leaf.VerifyHostname(name) == nil {
				return p, nil
			}
		}
	}
	return pairs[0], nil
}

// covers reports whether a client that asks for the name gets a certificate for it.
func (s *certificates) covers(name string) bool {
	for _, p := range *s.serving.Load() {
		if p.Leaf.VerifyHostname(name) == nil {
			return true
		}
	}
	return false
}

// look takes what is in the files now, if it is new and works.
func (s *certificates) look() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pairs, sum, err := s.read()
	if err != nil {
		if before := s.failing.Swap(&err); before == nil || (*before).Error() != err.Error() {
			s.log.Error("the certificate files do not work now; the certificates in use go on", "error", errors.Unwrap(err), "reason", err.Error())
		}
		return err
	}
	s.failing.Store(nil)
	if sum != s.seen {
		s.seen = sum
		s.serving.Store(&pairs)
		s.reloads.Add(1)
		s.told = time.Time{}
		s.log.Info("new certificates are in use", "first_end", s.ends().UTC().Format(time.RFC3339))
	}
	return nil
}

// ends is when the certificate ends that ends first.
func (s *certificates) ends() (first time.Time) {
	for _, p := range *s.serving.Load() {
		if first.IsZero() || p.Leaf.NotAfter.Before(first) {
			first = p.Leaf.NotAfter
		}
	}
	return first
}

// tellEnd writes once a day that a certificate ends soon.
func (s *certificates) tellEnd() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	left := s.ends().Sub(now)
	if left > s.warn || now.Sub(s.told) < 24*time.Hour {
		return
	}
	s.told = now
	s.log.Warn("a certificate of the listeners ends soon, and nothing has replaced it: put a new one into its file", "end", s.ends().UTC().Format(time.RFC3339),
		"left", left.Round(time.Minute))
}

// run looks every so often, and whenever somebody asks, until ctx ends.
func (s *certificates) run(ctx context.Context, every time.Duration, asked <-chan os.Signal) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		s.tellEnd()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case _, ok := <-asked:
			if !ok {
				asked = nil
				continue
			}
			s.log.Info("somebody asked to look at the certificate files")
		}
		_ = s.look() // logged, and told by a metric
	}
}

// problem is what is wrong with the files now, or nil.
func (s *certificates) problem() error {
	if err := s.failing.Load(); err != nil {
		return fmt.Errorf("the certificate files do not work: %w", *err)
	}
	return nil
}
