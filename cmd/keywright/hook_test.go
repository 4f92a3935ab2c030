package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// hook starts a receiver of web hooks and sets HOOK_URL. It answers handshakes, answers events with the status in the file hook.status, if
// there is one, and writes a line to hook.log for each: the status, the type and the subject.
func hook(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: hook")
	}
	log, status := ts.MkAbs("hook.log"), ts.MkAbs("hook.status")
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var list []struct {
			EventType, Subject string
			Data               struct{ ValidationCode string }
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &list) != nil || len(list) != 1 {
			http.Error(w, "no event", http.StatusBadRequest)
			return
		}
		if r.Header.Get("Aeg-Event-Type") == "SubscriptionValidation" {
			fmt.Fprintf(w, `{"validationResponse":%q}`, list[0].Data.ValidationCode)
			return
		}
		code := http.StatusOK
		if text, err := os.ReadFile(status); err == nil {
			fmt.Sscan(string(text), &code)
		}
		f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			fmt.Fprintln(f, code, strings.TrimPrefix(list[0].EventType, "Microsoft.KeyVault."), list[0].Subject, r.URL.RawQuery, r.Header.Get("X-Function-Key"))
			f.Close()
		}
		w.WriteHeader(code)
	}))
	ts.Defer(s.Close)
	ts.Setenv("HOOK_URL", s.URL+"/hook")
}
