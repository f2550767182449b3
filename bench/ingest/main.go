// Command ingest compares how many updates per second Twofold and mosquitto take
// from the same load generator in the same run.
//
// Twofold does its whole work: every update is durable before its PUBACK, history
// is kept, the delta is computed. Mosquitto runs without persistence and has
// nobody to deliver to, so it does no more than read, acknowledge and forget.
// Both get the same packets. They take turns in short rounds, and the one that
// waits is paused, so that noise of the machine meets both; the ratio printed is
// the median over the rounds.
//
// At the end of each row what Twofold has acknowledged is looked up over HTTP; one
// update missing, or one too many, is a failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/bench/load"
	"github.com/twofold-iot/twofold/bench/subject"
)

type row struct {
	name                          string
	connections, inFlight, things int
	goal                          float64 // of the ratio
}

func rows(things int) []row {
	return []row{
		{"a: 200 connections × 1 in flight", 200, 1, things, 0.8},
		{"b: 200 connections × 10 in flight", 200, 10, things, 1.0},
		{"c: 1 connection, 1,000 things, 100 in flight", 1, 100, 1000, 0.8},
	}
}

type config struct {
	server string
	data   string
	rows   string
	length time.Duration // per row and server
	rounds int
	things int
	sample int
}

func main() {
	var c config
	seconds := flag.Int("seconds", 30, "seconds of load for each row and server")
	flag.StringVar(&c.server, "server", "bin/twofold", "the twofold binary")
	flag.StringVar(&c.data, "data", ".cache/bench", "directory for data; must be on a real disk")
	flag.StringVar(&c.rows, "rows", "abc", "rows to run")
	flag.IntVar(&c.rounds, "rounds", 6, "turns of each server in a row")
	flag.IntVar(&c.things, "things", 50_000, "things in rows a and b")
	flag.IntVar(&c.sample, "sample", 5_000, "things to look up over HTTP after a row")
	flag.Parse()
	c.length = time.Duration(*seconds) * time.Second
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, c)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "ingest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, c config) error {
	if c.rounds < 1 || c.length < time.Duration(c.rounds)*100*time.Millisecond {
		return fmt.Errorf("%s in %d rounds is too short: give each round 100 ms at least", c.length, c.rounds)
	}
	p := printer{w: w}
	p.line("machine: %s", subject.Machine())
	p.line("commit:  %s", subject.Commit())
	p.line("load:    QoS 1, %d-byte reported updates, %s a row and server in %d rounds, taking turns", len(load.Reported200), c.length, c.rounds)
	for _, r := range rows(c.things) {
		if !strings.Contains(c.rows, r.name[:1]) {
			continue
		}
		if err := runRow(ctx, &p, c, r); err != nil {
			return fmt.Errorf("row %s: %w", r.name, err)
		}
	}
	return p.err
}

// side is one server in a row.
type side struct {
	process   *subject.Process
	generator *load.Generator
	rates     []float64
	latency   load.Histogram
	acked     uint64
	usage     subject.Usage
	generated time.Duration // CPU of the generator
	others    time.Duration // CPU of processes that have nothing to do with it
}

func runRow(ctx context.Context, p *printer, c config, r row) (err error) {
	dir, err := tempDir(c.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var ours, theirs side
	if ours.process, err = startTwofold(ctx, c.server, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.process.Stop()) }()
	if theirs.process, err = subject.StartMosquitto(ctx, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, theirs.process.Stop()) }()
	sides := []*side{&ours, &theirs}
	for _, s := range sides {
		s.generator, err = load.Open(load.Options{
			Addr: s.process.MQTT, ThingPrefix: "pump-",
			Connections: r.connections, InFlight: r.inFlight, Things: r.things,
		})
		if err != nil {
			return fmt.Errorf("%s: %w", s.process.Name, err)
		}
		defer func() { err = errors.Join(err, s.generator.Close()) }()
	}
	if err := takeTurns(ctx, sides, c.rounds, c.length/time.Duration(c.rounds)); err != nil {
		return err
	}
	p.row(c, r, &ours, &theirs)
	checked, err := checkStored(ctx, ours.process.HTTP, ours.generator, r.things, c.sample)
	if err != nil {
		return err
	}
	p.line("  %s", checked)
	return p.err
}

func startTwofold(ctx context.Context, binary, dir string) (*subject.Process, error) {
	s := subject.Twofold{Binary: binary, Data: filepath.Join(dir, "twofold-data")}
	var err error
	if s.MQTT, err = subject.FreeAddr(); err != nil {
		return nil, err
	}
	if s.HTTP, err = subject.FreeAddr(); err != nil {
		return nil, err
	}
	return s.Start(ctx)
}

func tempDir(parent string) (string, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("make data directory: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "ingest-")
	if err != nil {
		return "", fmt.Errorf("make data directory: %w", err)
	}
	return dir, nil
}

// takeTurns loads one side while the others are paused, a round each.
func takeTurns(ctx context.Context, sides []*side, rounds int, length time.Duration) error {
	for _, s := range sides {
		if err := s.process.Pause(); err != nil {
			return err
		}
		defer func() { _ = s.process.Resume() }() // the row resumed it or has failed
	}
	for i := range rounds * len(sides) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped after %d rounds: %w", i/len(sides), err)
		}
		s := sides[i%len(sides)]
		if err := s.round(length); err != nil {
			return fmt.Errorf("round %d: %w\n%w", i/len(sides)+1, err, s.process.End())
		}
	}
	for _, s := range sides {
		if err := s.process.Resume(); err != nil {
			return err
		}
	}
	return nil
}

func (s *side) round(length time.Duration) error {
	if err := s.process.Resume(); err != nil {
		return err
	}
	before, err := s.meter()
	if err != nil {
		return err
	}
	report, err := s.generator.Run(length)
	if err != nil {
		return err
	}
	after, err := s.meter()
	if err != nil {
		return err
	}
	used, own := after.server.Since(before.server), after.own-before.own
	s.usage = s.usage.Add(used)
	s.generated += own
	s.others += max(after.machine-before.machine-used.CPU-own, 0)
	s.rates = append(s.rates, report.PerSecond())
	s.latency.Merge(&report.Latency)
	s.acked += report.Acked
	return s.process.Pause()
}

// reading is what everybody has used up to a moment.
type reading struct {
	server       subject.Usage
	own, machine time.Duration // CPU
}

func (s *side) meter() (r reading, err error) {
	if r.server, err = subject.ReadUsage(s.process.PID()); err != nil {
		return r, err
	}
	own, err := subject.ReadUsage(os.Getpid())
	if err != nil {
		return r, err
	}
	r.own = own.CPU
	r.machine, err = subject.ReadBusy()
	return r, err
}

// printer writes lines and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) row(c config, r row, ours, theirs *side) {
	ratios := make([]float64, len(ours.rates))
	for i := range ratios {
		ratios[i] = ours.rates[i] / theirs.rates[i]
	}
	p.line("\n%s, %d things", r.name, r.things)
	p.line("  %-10s %10s %9s %9s %14s %15s %15s %9s %14s", "", "updates/s", "p50 ms", "p99 ms",
		"CPU s/1,000", "disk B/update", "write B/update", "RSS MB", "generator CPU")
	for _, s := range []*side{ours, theirs} {
		n := float64(max(s.acked, 1))
		p.line("  %-10s %10.0f %9.2f %9.2f %14.4f %15.0f %15.0f %9.1f %14.4f", s.process.Name, median(s.rates),
			ms(s.latency.Quantile(0.5)), ms(s.latency.Quantile(0.99)), s.usage.CPU.Seconds()*1000/n,
			float64(s.usage.DiskBytes)/n, float64(s.usage.WrittenBytes)/n, float64(s.usage.RSSBytes)/(1<<20),
			s.generated.Seconds()*1000/n)
	}
	verdict := "reached"
	if median(ratios) < r.goal {
		verdict = "missed"
	}
	p.line("  ratio %.2f (rounds %s), goal %.1f %s", median(ratios), list(ratios), r.goal, verdict)
	p.line("  other processes took %s of a processor while twofold was measured, %s while mosquitto was",
		share(ours.others, c.length), share(theirs.others, c.length))
	p.line("  updates/s by round: twofold %s; mosquitto %s", list0(ours.rates), list0(theirs.rates))
}

func share(part, whole time.Duration) string {
	return fmt.Sprintf("%.2f", part.Seconds()/whole.Seconds())
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

func list(v []float64) string  { return join(v, "%.2f") }
func list0(v []float64) string { return join(v, "%.0f") }

func join(v []float64, format string) string {
	var b strings.Builder
	for i, x := range v {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, format, x)
	}
	return b.String()
}
