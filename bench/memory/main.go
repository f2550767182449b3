// Command memory measures what Twofold needs at rest: resident memory of an idle
// server and of one that holds many things, and how long it takes from the start
// of the program to the first correct answer, after a clean stop and after SIGKILL.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/twofold-iot/twofold/bench/load"
	"github.com/twofold-iot/twofold/bench/subject"
)

type config struct {
	server, data string
	things       int
	settle       time.Duration
}

const (
	loadTime       = 5 * time.Minute
	answerTime     = 30 * time.Second
	probeTick      = time.Millisecond
	shadowBytesMax = 64 << 10

	idleGoalMB    = 40
	loadedGoalMB  = 300
	restartGoalMS = 2000
	prefix        = "room-"
)

func main() {
	var c config
	flag.StringVar(&c.server, "server", "bin/twofold", "the twofold binary")
	flag.StringVar(&c.data, "data", ".cache/bench", "directory for data; must be on a real disk")
	flag.IntVar(&c.things, "things", 100_000, "things of 3 attributes")
	flag.DurationVar(&c.settle, "settle", 5*time.Second, "pause before memory is read")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, c)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, c config) (err error) {
	if err := os.MkdirAll(c.data, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	dir, err := os.MkdirTemp(c.data, "memory-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := subject.Twofold{Binary: c.server, Data: filepath.Join(dir, "twofold-data")}
	if s.MQTT, err = subject.FreeAddr(); err != nil {
		return err
	}
	if s.HTTP, err = subject.FreeAddr(); err != nil {
		return err
	}
	m := &measurement{config: c, server: s, w: w}
	m.print("machine: %s", subject.Machine())
	m.print("commit:  %s\n", subject.Commit())
	return errors.Join(m.run(ctx), m.err)
}

// measurement prints as it goes and keeps the first write error.
type measurement struct {
	config config
	server subject.Twofold
	w      io.Writer
	err    error
}

func (m *measurement) print(format string, args ...any) {
	if m.err == nil {
		_, m.err = fmt.Fprintf(m.w, format+"\n", args...)
	}
}

func (m *measurement) goal(what string, got float64, unit string, most float64) {
	verdict := "reached"
	if got > most {
		verdict = "missed"
	}
	m.print("%-52s %8.1f %s (goal ≤ %g: %s)", what, got, unit, most, verdict)
}

func (m *measurement) run(ctx context.Context) error {
	began := time.Now()
	p, err := m.server.Start(ctx)
	if err != nil {
		return err
	}
	ready := time.Since(began)
	if err := m.fill(ctx, p, ready); err != nil {
		return errors.Join(err, p.Kill())
	}
	if err := p.Stop(); err != nil {
		return err
	}
	for _, how := range []string{"clean stop", "SIGKILL"} {
		p, took, err := m.restart(ctx)
		if err != nil {
			return fmt.Errorf("restart after %s: %w", how, err)
		}
		m.goal("start to first correct GET after "+how, float64(took)/1e6, "ms", restartGoalMS)
		if err := m.rss(ctx, p, "resident memory after that restart", loadedGoalMB); err != nil {
			return errors.Join(err, p.Kill())
		}
		// An update that is in the log only, so that the next start has to replay.
		if err := m.update(p); err != nil {
			return errors.Join(err, p.Kill())
		}
		if err := p.Kill(); err != nil {
			return err
		}
	}
	return nil
}

// fill measures the empty server, loads the things and measures again.
func (m *measurement) fill(ctx context.Context, p *subject.Process, ready time.Duration) error {
	m.print("%-52s %8.1f ms", "start of an empty server to ready", float64(ready)/1e6)
	if err := m.rss(ctx, p, "resident memory, idle and empty", idleGoalMB); err != nil {
		return err
	}
	g, err := load.Open(load.Options{
		Addr: p.MQTT, ThingPrefix: prefix, Connections: 50, InFlight: 20, Things: m.config.things, Payload: load.Reported3,
	})
	if err != nil {
		return err
	}
	report, err := g.Once(loadTime)
	if err = errors.Join(err, g.Close()); err != nil {
		return err
	}
	m.print("%-52s %8.0f /s", fmt.Sprintf("created %d things of 3 attributes", report.Acked), report.PerSecond())
	return m.rss(ctx, p, fmt.Sprintf("resident memory with %d things", m.config.things), loadedGoalMB)
}

func (m *measurement) rss(ctx context.Context, p *subject.Process, what string, goalMB float64) error {
	if err := pause(ctx, m.config.settle); err != nil {
		return err
	}
	u, err := subject.ReadUsage(p.PID())
	if err != nil {
		return err
	}
	m.goal(what, float64(u.RSSBytes)/(1<<20), "MB", goalMB)
	return nil
}

// restart starts the server and measures until a thing is read correctly.
func (m *measurement) restart(ctx context.Context) (*subject.Process, time.Duration, error) {
	began := time.Now()
	p, err := m.server.Start(ctx)
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for {
		err := m.get(ctx, m.config.things/2)
		if err == nil {
			return p, time.Since(began), nil
		}
		if errPause := pause(ctx, probeTick); errPause != nil {
			return nil, 0, errors.Join(err, errPause, p.Kill())
		}
	}
}

func (m *measurement) get(ctx context.Context, thing int) error {
	url := "http://" + m.server.HTTP + "/things/" + load.ThingName(prefix, thing) + "/shadow"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var doc struct {
		Version int
		State   struct{ Reported struct{ Seq int } }
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, shadowBytesMax))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("get %s: %s: %w", url, resp.Status, err)
	}
	if doc.Version != 1 || doc.State.Reported.Seq != load.SeqBase+1 {
		return fmt.Errorf("get %s: got version %d, seq %d", url, doc.Version, doc.State.Reported.Seq)
	}
	return nil
}

// update sends a few updates to things nobody looks at.
func (m *measurement) update(p *subject.Process) error {
	g, err := load.Open(load.Options{Addr: p.MQTT, ThingPrefix: "other-", Connections: 1, InFlight: 10, Things: 100, Payload: load.Reported3})
	if err != nil {
		return err
	}
	_, err = g.Once(loadTime)
	return errors.Join(err, g.Close())
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
