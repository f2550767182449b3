package server_test

import (
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/internal/server"
)

// In a fast world an hour of an alarm passes in a second, what is stored has its time, and
// nothing is on the disk.
func TestOpenIn_fastInMemory(t *testing.T) {
	c := config(t)
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clk, err := clock.New(began, 3600)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.OpenIn(server.World{Clock: clk, Memory: true}, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, s)
	model := `{"name": "freezer", "alarms": {"warm": {"when": "reported.t > 5", "for": "1h", "severity": "error"}}}`
	if status, body := r.call(t, http.MethodPost, "/api/v1/models", model); status != http.StatusOK {
		t.Fatal(status, body)
	}
	if status, body := r.call(t, http.MethodPost, "/api/v1/twins", `{"deviceId": "f-1", "model": "freezer"}`); status != http.StatusCreated {
		t.Fatal(status, body)
	}
	if status, body := r.call(t, http.MethodPatch, "/api/v1/twins/f-1/reported", `{"t": 9}`); status != http.StatusOK {
		t.Fatal(status, body)
	}
	until(t, "the alarm after an hour of the clock", func() bool { return r.alarms(t, "f-1") == "warm raised" })
	if took := clk.Now().Sub(began); took < time.Hour {
		t.Errorf("it came after %s", took)
	}
	if _, err := os.Stat(c.Data); !os.IsNotExist(err) {
		t.Errorf("there is something at %s: %v", c.Data, err)
	}
}
