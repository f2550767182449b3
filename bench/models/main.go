// Command models measures what a model costs an update: the rate of a server whose things
// have one with 10 computed attributes, 5 alarms and a state machine, beside that of a
// server without, in turns of one run.
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
	"sync"
	"time"

	"github.com/twofold-iot/twofold/bench/load"
	"github.com/twofold-iot/twofold/bench/subject"
	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

type config struct {
	server, data   string
	things, rounds int
	round          time.Duration
}

const (
	prefix   = "pump-"
	ratioMin = 0.7
	askers   = 64
	askTime  = time.Minute
)

func main() {
	var c config
	flag.StringVar(&c.server, "server", "bin/twofold", "the twofold binary")
	flag.StringVar(&c.data, "data", ".cache/bench", "directory for data; must be on a real disk")
	flag.IntVar(&c.things, "things", 5000, "things")
	flag.IntVar(&c.rounds, "rounds", 6, "turns of each server")
	flag.DurationVar(&c.round, "round", 5*time.Second, "length of a turn")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, c)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "models:", err)
		os.Exit(1)
	}
}

// side is a server with its load.
type side struct {
	name    string
	process *subject.Process
	load    *load.Generator
	rates   []float64
}

func run(ctx context.Context, w io.Writer, c config) (err error) {
	if err := os.MkdirAll(c.data, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	dir, err := os.MkdirTemp(c.data, "models-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	sides := []*side{{name: "without a model"}, {name: "with a model"}}
	for i, s := range sides {
		if err := s.start(ctx, c, filepath.Join(dir, fmt.Sprint(i))); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.load.Close(), s.process.Kill()) }()
		if i == 1 {
			if err := model(ctx, s.process.HTTP, c.things); err != nil {
				return err
			}
		}
	}
	var ratios []float64
	for range c.rounds {
		for _, s := range sides {
			r, err := s.load.Run(c.round)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			s.rates = append(s.rates, r.PerSecond())
		}
		ratios = append(ratios, sides[1].rates[len(ratios)]/sides[0].rates[len(ratios)])
	}
	raised, err := alarms(ctx, sides[1].process.HTTP)
	if err != nil {
		return err
	}
	verdict := "reached"
	if median(ratios) < ratioMin {
		verdict = "missed"
	}
	_, err = fmt.Fprintf(w, "machine: %s\ncommit:  %s\nload:    QoS 1, %d things, 50 connections × 20 in flight, %d turns of %s each\n\n%-20s %8.0f updates/s\n%-20s %8.0f updates/s, 10 computed attributes, 5 alarms, a state machine; %d alarms are raised\nratio                %8.2f (turns %.2f; goal ≥ %g: %s)\n",
		subject.Machine(), subject.Commit(), c.things, c.rounds, c.round, sides[0].name, median(sides[0].rates), sides[1].name, median(sides[1].rates), raised, median(ratios), ratios, ratioMin, verdict)
	return err
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

func (s *side) start(ctx context.Context, c config, dir string) (err error) {
	t := subject.Twofold{Binary: c.server, Data: dir}
	if t.MQTT, err = subject.FreeAddr(); err != nil {
		return err
	}
	if t.HTTP, err = subject.FreeAddr(); err != nil {
		return err
	}
	if s.process, err = t.Start(ctx); err != nil {
		return err
	}
	s.load, err = load.Open(load.Options{Addr: s.process.MQTT, ThingPrefix: prefix, Connections: 50, InFlight: 20, Things: c.things})
	return err
}

// definition is a model all of whose computed attributes change with each update, and whose
// states and first alarm with each thousandth.
func definition() string {
	var b strings.Builder
	b.WriteString("name: bench\ncomputed:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "  c%d: (reported.temperature * %d + reported.seq %% 1000) / (reported.humidity + %d)\n", i, i+1, i)
	}
	b.WriteString("alarms:\n  often: {when: reported.seq % 1000 < 500}\n")
	for i := range 4 {
		fmt.Fprintf(&b, "  a%d: {when: computed.c%d > %d, clearWhen: computed.c%d < 1, for: 1h, severity: error, message: \"{computed.c%d}\"}\n", i, i, 1000*(i+1), i, i)
	}
	b.WriteString("behaviour: {states: {low: {to: {high: reported.seq % 1000 >= 500}}, high: {max: 1h, to: {low: reported.seq % 1000 < 500}}}}\n")
	return b.String()
}

// model gives all things the model.
func model(ctx context.Context, addr string, things int) error {
	c, err := client.New("http://"+addr, client.Options{Timeout: askTime})
	if err != nil {
		return err
	}
	if _, err := c.ApplyModel(ctx, client.ApplyModel{Source: []byte(definition())}); err != nil {
		return err
	}
	next := make(chan twin.ThingName)
	errs := make(chan error, askers)
	var asking sync.WaitGroup
	for range askers {
		asking.Go(func() {
			for thing := range next {
				if _, err := c.Create(ctx, client.Attributes{DeviceID: thing, Model: "bench"}); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for i := range things {
		next <- twin.ThingName(load.ThingName(prefix, i))
	}
	close(next)
	asking.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// alarms counts the alarms that are raised: a model that did nothing would cost nothing.
func alarms(ctx context.Context, addr string) (int, error) {
	c, err := client.New("http://"+addr, client.Options{Timeout: askTime})
	if err != nil {
		return 0, err
	}
	page, err := c.Fleet(ctx, &client.FleetQuery{Where: "has(computed.c9) && state in [\"low\", \"high\"]", Limit: 1})
	if err != nil {
		return 0, err
	}
	if page.Total == 0 {
		return 0, errors.New("no thing has what the model computes")
	}
	_, total, _, err := c.Alarms(ctx, client.AlarmFilter{})
	return total, err
}
