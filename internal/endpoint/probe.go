package endpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/keywright/keywright/internal/fault"
)

// sighting is what one address showed: a chain as it was presented, or why there is none.
type sighting struct {
	address netip.AddrPort
	chain   []*x509.Certificate
	err     error
}

// maxAddresses bounds the addresses behind one name that are asked.
const maxAddresses = 32

// addresses resolves the host of an endpoint. The list is sorted and holds no address twice.
func (s *Service) addresses(ctx context.Context, spec *Spec) ([]netip.AddrPort, error) {
	host, text, err := net.SplitHostPort(spec.Address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
	defer cancel()
	var found []netip.Addr
	if a, perr := netip.ParseAddr(host); perr == nil {
		found = []netip.Addr{a}
	} else if found, err = s.Lookup(ctx, host); err != nil {
		return nil, err
	}
	var list []netip.AddrPort
	for _, a := range found {
		list = append(list, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	list = slices.Compact(list)
	if len(list) == 0 {
		return nil, errors.New("the name has no addresses")
	}
	return list[:min(len(list), maxAddresses)], nil
}

// look asks every address of an endpoint at the same time. The error says that there are none.
func (s *Service) look(ctx context.Context, spec *Spec) ([]sighting, error) {
	list, err := s.addresses(ctx, spec)
	if err != nil {
		return nil, err
	}
	seen := make([]sighting, len(list))
	var all sync.WaitGroup
	for i, a := range list {
		all.Go(func() {
			chain, err := s.ask(ctx, spec, a)
			seen[i] = sighting{a, chain, err}
		})
	}
	all.Wait()
	return routed(seen), nil
}

// routed leaves out the addresses to which this machine has no way at all, such as those of IPv6 without any, as long as another one answered.
func routed(seen []sighting) []sighting {
	if !slices.ContainsFunc(seen, func(s sighting) bool { return s.err == nil }) {
		return seen
	}
	return slices.DeleteFunc(seen, func(s sighting) bool {
		return s.address.Addr().Is6() && (errors.Is(s.err, syscall.ENETUNREACH) || errors.Is(s.err, syscall.EADDRNOTAVAIL) || errors.Is(s.err, syscall.EAFNOSUPPORT))
	})
}

// ask connects to one address and returns the chain that is presented there, by somebody who has its key: a handshake that fails shows nothing. A server that ends it for
// want of a client's certificate has presented its own and proved it before.
func (s *Service) ask(ctx context.Context, spec *Spec, at netip.AddrPort) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
	defer cancel()
	conn, err := s.Dial(ctx, "tcp", at.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The deadline of a context is that of the machine's clock, whatever clock the service has.
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := negotiate(spec.Protocol, conn); err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	var bad error
	wanted := false
	client := tls.Client(conn, &tls.Config{ServerName: spec.ServerName, MinVersion: tls.VersionTLS10,
		// What is wrong with the certificate is what is to be found out; inspect verifies it.
		InsecureSkipVerify: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			chain, bad = parse(raw)
			return bad
		},
		// It is asked for behind the server's proof (RFC 8446, section 4.4.2; in TLS 1.2 behind the signed key exchange).
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			wanted = true
			return &tls.Certificate{}, nil
		}})
	err = client.HandshakeContext(ctx)
	switch {
	case bad != nil:
		return nil, bad
	case err != nil && !wanted:
		return nil, err
	case len(chain) == 0:
		return nil, errors.New("the server presented no certificate")
	}
	return chain, nil
}

// maxChain bounds the certificates that a server may present.
const maxChain = 20

func parse(raw [][]byte) (chain []*x509.Certificate, err error) {
	if len(raw) > maxChain {
		return nil, fmt.Errorf("the server presents %d certificates: more than %d are not looked at", len(raw), maxChain)
	}
	for _, der := range raw {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, errors.New("the server presents a certificate that cannot be read")
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// why is an error of a look as one sentence for people.
func why(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the name does not exist"
	case errors.As(err, &dns):
		return "the name cannot be resolved"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "the server ended the connection"
	case errors.As(err, &op) && op.Err != nil:
		err = op.Err
	}
	return fault.Clip(err.Error())
}
