package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/twofold-iot/twofold/bench/table"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/server"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// fleetFigures are of many things that report every minute: disk and proofs.
func fleetFigures(ctx context.Context, dir string, c *config) (fs []figure, err error) {
	folder := filepath.Join(dir, "fleet")
	w, err := openWorld(folder, true)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := w.rounds(ctx, c.things, c.minutes, time.Minute, 512); err != nil {
		return nil, err
	}
	total := c.things * c.minutes
	fs = append(fs, newFigure("load through engine and store, no sync", fmt.Sprintf("%.0f events/s", float64(total)/time.Since(start).Seconds()), ""))
	per, err := w.bytesPerEvent(ctx, total)
	if err != nil {
		return nil, err
	}
	fs = append(fs, newFigure(fmt.Sprintf("disk per event with log and proof, %d events, up to 512 in a commit", total), per, "≤ 20 bytes"))
	if err := w.close(); err != nil {
		return nil, err
	}
	proofs, err := proofFigures(ctx, folder)
	return append(fs, proofs...), err
}

// bytesPerEvent is what the past takes after compaction.
func (w *world) bytesPerEvent(ctx context.Context, events int) (string, error) {
	if err := w.store.Compact(ctx); err != nil {
		return "", err
	}
	stats, err := w.store.Stats(ctx, 0)
	if err != nil {
		return "", err
	}
	sum, text := 0.0, ""
	for _, k := range stats.Kinds {
		switch k.Kind {
		case "history", "events", "log", "proofs":
			per := float64(k.Bytes) / float64(events)
			sum += per
			text += fmt.Sprintf(" %s %.1f", k.Kind, per)
		}
	}
	return fmt.Sprintf("%.1f bytes (%s)", sum, text[1:]), nil
}

// groupOfOne is the same with a commit for each event.
func groupOfOne(ctx context.Context, dir string, c *config) ([]figure, error) {
	w, err := openWorld(filepath.Join(dir, "ones"), true)
	if err != nil {
		return nil, err
	}
	rounds := min(c.minutes, 400)
	if err := w.rounds(ctx, c.things, rounds, time.Minute, 1); err != nil {
		return nil, err
	}
	per, err := w.bytesPerEvent(ctx, c.things*rounds)
	if err != nil {
		return nil, err
	}
	return []figure{newFigure(fmt.Sprintf("the same, %d events, one in a commit", c.things*rounds), per, "")}, w.close()
}

func proofFigures(ctx context.Context, folder string) ([]figure, error) {
	off, err := server.OpenOffline(folder, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	expired, err := off.Expired(ctx)
	if err != nil {
		return nil, err
	}
	var fs []figure
	for _, p := range []struct {
		name, goal string
		run        func() (proof.Report, error)
	}{
		{"verify, first run after opening", "≥ 500,000 events/s", func() (proof.Report, error) {
			return proof.Verify(ctx, off.Source(), proof.Options{Expired: expired})
		}},
		{"verify, again", "≥ 500,000 events/s", func() (proof.Report, error) {
			return proof.Verify(ctx, off.Source(), proof.Options{Expired: expired})
		}},
		{"verify --rebuild", "≥ 200,000 events/s", func() (proof.Report, error) {
			return proof.Rebuild(ctx, off.Source(), proof.Options{Expired: expired})
		}},
	} {
		start := time.Now()
		r, err := p.run()
		if err != nil {
			return nil, err
		}
		if !r.OK() {
			return nil, fmt.Errorf("%s: %v", p.name, r.Findings)
		}
		fs = append(fs, newFigure(p.name, fmt.Sprintf("%.0f events/s", float64(r.Events)/time.Since(start).Seconds()), p.goal))
	}
	return fs, off.Close()
}

// deepFigures reads the newest states of a thing with many.
func deepFigures(ctx context.Context, dir string, c *config) ([]figure, error) {
	w, err := openWorld(filepath.Join(dir, "deep"), true)
	if err != nil {
		return nil, err
	}
	if err := w.rounds(ctx, 1, c.deep, time.Minute, 256); err != nil {
		return nil, err
	}
	if err := w.store.Compact(ctx); err != nil {
		return nil, err
	}
	r := history.New(w.store, nil)
	var fs []figure
	for _, form := range []struct {
		name string
		form history.Form
		goal string
	}{{"states", history.States, "p50 ≤ 1 ms"}, {"patches", history.Patches, ""}} {
		l, err := table.Measure(300, func(int) error {
			p, err := r.States(ctx, history.Query{Key: twin.ShadowKey{Thing: thingName(0)}, Newest: true, Limit: 1000, Form: form.form})
			if err == nil && len(p.States) != 1000 {
				err = fmt.Errorf("%d states in place of 1000", len(p.States))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		fs = append(fs, newFigure(fmt.Sprintf("newest 1,000 %s of %d of a thing", form.name, c.deep), l.String(), form.goal))
	}
	return fs, w.close()
}

// instantFigures reads the state at random instants.
func instantFigures(ctx context.Context, dir string, c *config) ([]figure, error) {
	w, err := openWorld(filepath.Join(dir, "million"), true)
	if err != nil {
		return nil, err
	}
	if err := w.rounds(ctx, 1, c.million, time.Second, 256); err != nil {
		return nil, err
	}
	if err := w.store.Compact(ctx); err != nil {
		return nil, err
	}
	r := history.New(w.store, nil)
	first, last := twin.TimeOf(epoch)+600_000, twin.Time(w.clock.Load())
	l, err := table.Measure(2000, func(int) error {
		at := first + twin.Time(w.rng.Int64N(int64(last-first)))
		_, _, err := r.At(ctx, twin.ShadowKey{Thing: thingName(0)}, history.Point{Time: at})
		return err
	})
	if err != nil {
		return nil, err
	}
	return []figure{newFigure(fmt.Sprintf("state at an instant, %d events in the twin", c.million), l.String(), "p99 ≤ 5 ms")}, w.close()
}

// expiryFigures lets one day of 90 expire.
func expiryFigures(ctx context.Context, dir string, c *config) ([]figure, error) {
	if c.expire == 0 {
		return nil, nil
	}
	w, err := openWorld(filepath.Join(dir, "expire"), true)
	if err != nil {
		return nil, err
	}
	const days = 90
	a := c.expire / c.things / days
	if err := w.rounds(ctx, c.things, days*a, 24*time.Hour/time.Duration(a), 512); err != nil {
		return nil, err
	}
	if err := w.store.Compact(ctx); err != nil {
		return nil, err
	}
	first := twin.TimeOf(epoch).Day()
	start := time.Now()
	r, err := w.store.Expire(ctx, store.Policy{store.ClassHistory: first + 1})
	if err != nil {
		return nil, err
	}
	took := time.Since(start).Round(time.Millisecond)
	if r.Days != 1 || r.Bases != c.things {
		return nil, fmt.Errorf("one day of %d things was to expire: %+v", c.things, r)
	}
	what := fmt.Sprintf("expiry of one day of %d, %d events in all, %d bases", days, c.things*a*days, r.Bases)
	return []figure{newFigure(what, took.String(), "≤ 1 s")}, w.close()
}
