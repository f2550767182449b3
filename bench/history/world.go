package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// world is a store with an engine on a clock of its own.
type world struct {
	store  *pebblestore.Store
	engine *engine.Engine
	clock  atomic.Int64 // ms; each reading of it moves it on
	step   atomic.Int64 // by how much on average
	rng    *rand.Rand
	drift  map[int]float64
}

var epoch = time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)

func openWorld(dir string, noSync bool) (*world, error) {
	quiet := slog.New(slog.DiscardHandler)
	s, err := pebblestore.Open(dir, pebblestore.Options{Log: quiet, NoSync: noSync})
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	w := &world{store: s, rng: rand.New(rand.NewPCG(1, 2)), drift: map[int]float64{}}
	w.clock.Store(epoch.UnixMilli())
	w.engine, err = engine.Open(quiet, s, engine.Options{Now: w.now})
	if err != nil {
		return nil, fmt.Errorf("open the engine: %w", err)
	}
	return w, nil
}

// now gives each event a time of its own, at uneven distances.
func (w *world) now() time.Time {
	step := w.step.Load()
	at := w.clock.Load()
	jitter := uint64(at) * 0x9e3779b97f4a7c15 >> 33
	return time.UnixMilli(w.clock.Add(int64(jitter % uint64(2*step+1))))
}

func (w *world) close() error {
	if err := w.engine.Close(); err != nil {
		return err
	}
	return w.store.Close()
}

// report is what a thing says at an instant: a daily wave with a random walk, noise,
// and a battery that goes down.
func (w *world) report(i int) string {
	w.drift[i] += w.rng.NormFloat64() * 0.05
	day := float64(w.clock.Load()%86_400_000) / 86_400_000
	return fmt.Sprintf(`{"temperature":%.1f,"humidity":%.1f,"battery":%d}`,
		20+5*math.Sin(2*math.Pi*day)+w.drift[i], 50+w.rng.NormFloat64()*0.5, 100-int(day*20))
}

// submit sends a report; done is called when it is durable.
func (w *world) submit(thing twin.ThingName, state string, packet uint16, done func(error)) error {
	req, err := twin.ParseRequest([]byte(`{"state":{"reported":`+state+`}}`), twin.Limits{})
	if err != nil {
		return err
	}
	return w.engine.Submit(twin.Update{
		Key: twin.ShadowKey{Thing: thing}, Request: req,
		Origin: twin.Origin{Door: twin.DoorMQTT, Session: string(thing), PacketID: packet},
	}, func(r twin.Result) { done(r.Err) })
}

// rounds lets things report so many times, each once a round, in any order. Up to
// window reports are under way at once.
func (w *world) rounds(ctx context.Context, things, rounds int, every time.Duration, window int) error {
	room := make(chan struct{}, window)
	failed := make(chan error, 1)
	w.step.Store(every.Milliseconds() / int64(things))
	start := w.clock.Load()
	for r := range rounds {
		// The engine reads the clock once for a group, so it has to be set on.
		if at := start + int64(r)*every.Milliseconds(); at > w.clock.Load() {
			w.clock.Store(at)
		}
		for _, i := range w.rng.Perm(things) {
			select {
			case room <- struct{}{}:
			case err := <-failed:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
			err := w.submit(thingName(i), w.report(i), uint16(r+1), func(err error) {
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
				<-room
			})
			if err != nil {
				return err
			}
		}
	}
	for range window {
		room <- struct{}{}
	}
	return nil
}

func thingName(i int) twin.ThingName { return twin.ThingName(fmt.Sprintf("sensor-%04d", i)) }
