package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// blobVersion is the version of the protocol of Azure Blob Storage that is spoken, and blobTimeout bounds one request.
const (
	blobVersion = "2021-12-02"
	blobTimeout = 5 * time.Minute
)

// Blobs opens containers of Azure Blob Storage, or of what speaks its protocol.
type Blobs struct {
	// Transport connects; nothing that a caller names is reached but through it.
	Transport http.RoundTripper
	// Plain permits http, which a server that others use does not.
	Plain bool
}

// Open returns the container at an address such as https://account.blob.example.org/container.
func (b Blobs) Open(address, token string) (Container, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" || len(address) > 2048 || strings.Trim(u.Path, "/") == "" {
		return nil, fault.New(fault.Invalid, "the storageResourceUri is not the address of a blob container: write it as https://HOST/CONTAINER")
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && b.Plain) {
		return nil, fault.New(fault.Invalid, "the storageResourceUri is to begin with https://")
	}
	query, err := url.ParseQuery(strings.TrimPrefix(token, "?"))
	if err != nil || len(token) > 4096 {
		return nil, fault.New(fault.Invalid, "the token is not a shared access signature: give it as the storage service made it")
	}
	for name, values := range u.Query() {
		query[name] = append(query[name], values...)
	}
	u.RawQuery, u.Path, u.RawPath = query.Encode(), strings.TrimSuffix(u.Path, "/"), ""
	return &container{base: u, client: &http.Client{Transport: b.Transport, Timeout: blobTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

type container struct {
	base   *url.URL
	client *http.Client
}

// do sends one request and returns its answer. No error has the address, whose query authorises.
func (c *container) do(ctx context.Context, method, name string, content []byte) (*http.Response, error) {
	u := *c.base
	u.Path += "/" + name
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(content))
	if err != nil {
		return nil, fault.New(fault.Invalid, "the storageResourceUri cannot be asked: check it")
	}
	r.Header.Set("X-Ms-Version", blobVersion)
	if method == http.MethodPut {
		r.Header.Set("X-Ms-Blob-Type", "BlockBlob")
		r.Header.Set("Content-Type", "application/octet-stream")
	}
	answer, err := c.client.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fault.Wrap(err, fault.Unavailable, "the blob container at %s cannot be reached: check the address, and that the server may connect to it", c.base.Host)
	}
	return answer, nil
}

// refused is what a status other than the wanted one means.
func (c *container) refused(answer *http.Response, name string) error {
	code := answer.Header.Get("X-Ms-Error-Code")
	switch answer.StatusCode {
	case http.StatusNotFound:
		return fault.New(fault.NotFound, "there is no blob %s in the container at %s %s", name, c.base.Host, fault.Clip(code))
	case http.StatusUnauthorized, http.StatusForbidden:
		return fault.New(fault.Invalid, "the blob container at %s refuses the token for %s (%d %s): give a shared access signature that may read, write and delete",
			c.base.Host, name, answer.StatusCode, fault.Clip(code))
	}
	return fault.New(fault.Unavailable, "the blob container at %s answers %d %s for %s: try again", c.base.Host, answer.StatusCode, fault.Clip(code), name)
}

func (c *container) expect(ctx context.Context, method, name string, content []byte, status int) error {
	answer, err := c.do(ctx, method, name, content)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != status {
		return c.refused(answer, name)
	}
	return nil
}

// Put implements Container ("Put Blob").
func (c *container) Put(ctx context.Context, name string, content []byte) error {
	return c.expect(ctx, http.MethodPut, name, content, http.StatusCreated)
}

// Delete implements Container ("Delete Blob").
func (c *container) Delete(ctx context.Context, name string) error {
	return c.expect(ctx, http.MethodDelete, name, nil, http.StatusAccepted)
}

// Get implements Container ("Get Blob").
func (c *container) Get(ctx context.Context, name string, most int64) ([]byte, error) {
	answer, err := c.do(ctx, http.MethodGet, name, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, c.refused(answer, name)
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "the blob %s in the container at %s ends early: try again", name, c.base.Host)
	}
	if int64(len(content)) > most {
		return nil, fault.New(fault.TooLarge, "the blob %s in the container at %s has more than %d bytes: it is none that a backup made", name, c.base.Host, most)
	}
	return content, nil
}
