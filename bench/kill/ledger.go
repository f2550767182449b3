package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/bench/subject"
)

// result is one line of the ledger (evidence/README.md).
type result struct {
	Time        time.Time      `json:"time"`
	Commit      string         `json:"commit"`
	Check       string         `json:"check"`
	Seed        uint64         `json:"seed"`
	Plant       plant          `json:"plant,omitempty"`
	Cycles      int            `json:"cycles"`
	Idle        int            `json:"idle"`   // of them, those in which nothing was acknowledged
	Result      string         `json:"result"` // green or red
	Faults      map[string]int `json:"faults"`
	Acked       uint64         `json:"acked"`
	AckedPerS   float64        `json:"acked_per_s"` // while under load
	Messages    uint64         `json:"messages"`    // seen by the watchers
	Repeats     uint64         `json:"repeats"`     // of them, delivered once more with DUP
	ReopenP50MS float64        `json:"reopen_p50_ms"`
	ReopenMaxMS float64        `json:"reopen_max_ms"`
	Error       string         `json:"error,omitempty"`
}

func (h *harness) result(runErr error) result {
	r := result{
		Time: time.Now().UTC().Truncate(time.Second), Commit: subject.Commit(), Check: "kill",
		Seed: h.config.seed, Plant: h.config.plant, Cycles: h.cycles, Idle: h.idle, Result: "green",
		Faults: h.faults.counts(), Acked: h.oracle.acked(),
	}
	if runErr != nil {
		r.Result, r.Error = "red", runErr.Error()
	}
	if h.faults.total() > 0 {
		r.Result = "red"
	}
	if h.underLoad > 0 {
		r.AckedPerS = round(float64(r.Acked) / h.underLoad.Seconds())
	}
	for _, w := range h.watch {
		r.Messages += w.messages
		r.Repeats += w.repeats
	}
	if len(h.reopen) > 0 {
		sorted := slices.Sorted(slices.Values(h.reopen))
		r.ReopenP50MS = round(float64(sorted[len(sorted)/2]) / 1e6)
		r.ReopenMaxMS = round(float64(sorted[len(sorted)-1]) / 1e6)
	}
	return r
}

func round(v float64) float64 { return float64(int64(v*10+0.5)) / 10 }

func (r result) String() string {
	return fmt.Sprintf("%s: %d kills (%d of an idle server), %d updates acknowledged (%.0f/s under load), %d lost, %d doubled, %d out of order, "+
		"%d other faults; %d messages to watchers, %d of them repeats; reopen p50 %.0f ms, max %.0f ms; seed %d, commit %s",
		r.Result, r.Cycles, r.Idle, r.Acked, r.AckedPerS, r.Faults[lost.String()], r.Faults[doubled.String()], r.Faults[inverted.String()],
		r.Faults[invented.String()]+r.Faults[session.String()]+r.Faults[protocol.String()],
		r.Messages, r.Repeats, r.ReopenP50MS, r.ReopenMaxMS, r.Seed, r.Commit)
}

// appendTo adds the line to the ledger.
func (r result) appendTo(path string) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode ledger line: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("append to ledger: %w", err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("append to ledger: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("append to ledger: %w", err)
	}
	return nil
}
