package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/twofold-iot/twofold/internal/store"
)

// health answers /healthz, whether the process is alive, and /readyz, whether it
// can take updates, and if not why.
type health struct {
	store    storeHealth
	version  string
	stopping atomic.Bool
}

// storeHealth is what readiness asks of the store.
type storeHealth interface {
	Space() store.Space
	Fault() error
}

// Check is one line of /readyz.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}

func (h *health) checks() []Check {
	space := h.store.Space()
	running := Check{Name: "running", OK: !h.stopping.Load()}
	if !running.OK {
		running.Reason = "the server is stopping"
	}
	writable := Check{Name: "store", OK: true}
	disk := Check{Name: "disk", OK: !space.ReadOnly}
	if err := h.store.Fault(); err != nil {
		writable.OK, writable.Reason = false, err.Error()
	}
	if space.ReadOnly {
		disk.Reason = fmt.Sprintf("only %d MiB are free: updates are refused until there is room; free some disk space", space.FreeBytes>>20)
	}
	return []Check{running, writable, disk}
}

func (h *health) ready(w http.ResponseWriter, _ *http.Request) {
	checks, status, word := h.checks(), http.StatusOK, "ready"
	for _, c := range checks {
		if !c.OK {
			status, word = http.StatusServiceUnavailable, "not ready"
		}
	}
	writeStatus(w, status, struct {
		Status string  `json:"status"`
		Checks []Check `json:"checks"`
	}{word, checks})
}

func (h *health) alive(w http.ResponseWriter, _ *http.Request) {
	writeStatus(w, http.StatusOK, struct {
		Status  string `json:"status"`
		Version string `json:"version"`
	}{"alive", h.version})
}

func writeStatus(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}
