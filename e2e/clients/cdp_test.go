package clients_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/process"
)

// browser is one tab of a real Chromium without a window, driven by its DevTools protocol over a pair of pipes: JSON messages, each ended
// by a zero byte (https://chromedevtools.github.io/devtools-protocol/, --remote-debugging-pipe).
type browser struct {
	to      *os.File
	session string

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer
	ended   error
}

type answer struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// browse starts the browser, which trusts any certificate: what is tested is the page. It ends with the test.
func browse(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		missing(t, "Chromium is not installed: apt-get install chromium")
	}
	toRead, toWrite := must2(os.Pipe())(t)
	fromRead, fromWrite := must2(os.Pipe())(t)
	home := t.TempDir()
	cmd := exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--ignore-certificate-errors", "--user-data-dir="+filepath.Join(home, "profile"),
		"--remote-debugging-pipe")
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	cmd.ExtraFiles = []*os.File{toRead, fromWrite}
	p, err := process.Start("chromium", cmd)
	if err != nil {
		t.Fatal(err)
	}
	toRead.Close()
	fromWrite.Close()
	b := &browser{to: toWrite, waiting: make(map[int]chan answer)}
	go b.listen(fromRead)
	t.Cleanup(func() {
		b.to.Close()
		if err := p.Stop(syscall.SIGTERM, 10*time.Second); err != nil {
			t.Error(err)
		}
		fromRead.Close()
		if t.Failed() {
			t.Logf("the browser said:\n%s", p.Tail())
		}
	})
	var target struct{ TargetID string }
	b.do(t, "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.do(t, "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	return b
}

func must2[A, B any](a A, b B, err error) func(*testing.T) (A, B) {
	return func(t *testing.T) (A, B) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
}

// listen hands answers to those who wait for them; events are passed over.
func (b *browser) listen(from *os.File) {
	r := bufio.NewReader(from)
	for {
		message, err := r.ReadBytes(0)
		var a answer
		if err == nil {
			err = json.Unmarshal(message[:len(message)-1], &a)
		}
		b.mu.Lock()
		if err != nil {
			b.ended = fmt.Errorf("the browser went away: %w", err)
			for _, w := range b.waiting {
				close(w)
			}
			b.mu.Unlock()
			return
		}
		if w := b.waiting[a.ID]; w != nil {
			delete(b.waiting, a.ID)
			w <- a
		}
		b.mu.Unlock()
	}
}

// do calls a method and decodes its result.
func (b *browser) do(t *testing.T, method string, params, result any) {
	t.Helper()
	if err := b.try(t.Context(), method, params, result); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
}

func (b *browser) try(ctx context.Context, method string, params, result any) error {
	got := make(chan answer, 1)
	b.mu.Lock()
	b.last++
	id := b.last
	b.waiting[id] = got
	ended := b.ended
	b.mu.Unlock()
	if ended != nil {
		return ended
	}
	message := map[string]any{"id": id, "method": method, "params": params}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	encoded, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(encoded, 0)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case a, ok := <-got:
		switch {
		case !ok:
			return b.ended
		case a.Error != nil:
			return errors.New(a.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// open loads a page.
func (b *browser) open(t *testing.T, url string) {
	t.Helper()
	var loaded struct{ ErrorText string }
	b.do(t, "Page.navigate", map[string]any{"url": url}, &loaded)
	if loaded.ErrorText != "" {
		t.Fatalf("opening %s: %s", url, loaded.ErrorText)
	}
}

// eval runs a script in the page and decodes what it returns. The page may be on its way to another: then it fails.
func (b *browser) eval(ctx context.Context, script string, value any) error {
	var out struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	// A gesture of the person: without one a browser makes no passkey.
	err := b.try(ctx, "Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &out)
	switch {
	case err != nil:
		return err
	case out.ExceptionDetails != nil:
		return errors.New(out.ExceptionDetails.Text + " " + out.ExceptionDetails.Exception.Description)
	case value == nil:
		return nil
	}
	return json.Unmarshal(out.Result.Value, value)
}

// await waits until the page holds an element.
func (b *browser) await(t *testing.T, selector string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var there bool
		err := b.eval(t.Context(), fmt.Sprintf("document.readyState === 'complete' && !!document.querySelector(%q)", selector), &there)
		if err == nil && there {
			return
		}
		if time.Now().After(deadline) {
			var text string
			b.eval(t.Context(), "document.title + ': ' + document.body.innerText", &text)
			t.Fatalf("the page never had %q (%v); it shows: %s", selector, err, text)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// fill types into a field, click presses a button.
func (b *browser) fill(t *testing.T, selector, text string) {
	t.Helper()
	b.script(t, fmt.Sprintf("document.querySelector(%q).value = %q", selector, text))
}

func (b *browser) click(t *testing.T, selector string) {
	t.Helper()
	b.script(t, fmt.Sprintf("document.querySelector(%q).click()", selector))
}

func (b *browser) script(t *testing.T, script string) {
	t.Helper()
	if err := b.eval(t.Context(), script, nil); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
}
