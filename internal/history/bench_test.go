package history_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// unexpired adds to a store that nothing has expired.
type unexpired struct{ *pebblestore.Store }

func (unexpired) Base(context.Context, twin.ShadowKey) (store.Base, bool, error) {
	return store.Base{}, false, nil
}

// fill writes updates of one shadow, three numbers a minute, as the engine would. It
// takes any store.
func fill(b *testing.B, s store.Writer, key twin.ShadowKey, updates int) (last twin.Time) {
	b.Helper()
	var head twin.Head
	var shadow *twin.Shadow
	var since int
	var snapshotDay uint32
	now := start
	batch := make([]store.Mutation, 0, 1000)
	for i := range updates {
		req, err := twin.ParseRequest(fmt.Appendf(nil, `{"state":{"reported":{"temperature":%d.%d,"pressure":%d,"rpm":%d}}}`,
			20+i%13, i%10, 1000+i%31, 1400+i%97), twin.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		c, err := twin.NewChange(key, shadow, req, now, twin.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		doc := c.Current.AppendBinary(nil)
		ev := twin.Event{
			Thing: key.Thing, Shadow: key.Shadow, Seq: head.Seq + 1, Kind: c.Kind, Version: c.Version, Time: now,
			Origin: twin.Origin{Door: twin.DoorMQTT, Session: string(key.Thing), PacketID: uint16(i)}, Patch: bytes.Clone(c.Patch()),
		}
		if since++; shadow == nil || snapshotDay != now.Day() || since >= 256 {
			ev.Snapshot, since, snapshotDay = doc, 0, now.Day()
		}
		event := ev.AppendBinary(nil)
		next := twin.Head{Seq: ev.Seq, Hash: head.Hash.Next(event), Time: now}
		batch = append(batch, store.Mutation{
			Thing: key.Thing, Expect: head.Seq, Event: event, Head: next, Shadow: key.Shadow, Doc: doc, Live: true,
		})
		head, shadow, last = next, c.Current, now
		now += 60 * second
		if len(batch) == cap(batch) || i == updates-1 {
			if _, err := s.Commit(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	return last
}

func benchReader(b *testing.B, updates int) (*history.Reader, twin.Time) {
	b.Helper()
	s, err := pebblestore.Open(b.TempDir(), pebblestore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	last := fill(b, s, keys[0], updates)
	return history.New(unexpired{s}, nil), last
}

// BenchmarkStates reads the newest 1,000 states of a thing out of 50,000.
func BenchmarkStates(b *testing.B) {
	r, _ := benchReader(b, 50_000)
	for name, form := range map[string]history.Form{"states": history.States, "patches": history.Patches} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, err := r.States(b.Context(), history.Query{Key: keys[0], Newest: true, Limit: 1000, Form: form})
				if err != nil || len(p.States) != 1000 {
					b.Fatalf("%d states, %v", len(p.States), err)
				}
			}
		})
	}
}

// BenchmarkAt reads states at any instants of a twin.
func BenchmarkAt(b *testing.B) {
	r, last := benchReader(b, 200_000)
	rng := rand.New(rand.NewPCG(1, 1))
	b.Run("time", func(b *testing.B) {
		for b.Loop() {
			at := start + twin.Time(rng.Int64N(int64(last-start)))
			if _, _, err := r.At(b.Context(), keys[0], history.Point{Time: at}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("version", func(b *testing.B) {
		for b.Loop() {
			v := twin.Version(1 + rng.Int64N(200_000))
			if _, _, err := r.At(b.Context(), keys[0], history.Point{Version: v}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSummary is what the view of a twin costs: 1,440 events in 24 hours.
func BenchmarkSummary(b *testing.B) {
	r, last := benchReader(b, 50_000)
	for b.Loop() {
		if _, err := r.Summary(b.Context(), keys[0], history.Window{Now: last}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAt_things reads many things as of an instant, each with three updates before it and
// three after it.
func BenchmarkAt_things(b *testing.B) {
	s, err := pebblestore.Open(b.TempDir(), pebblestore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	const things = 20_000
	for i := range things {
		fill(b, s, twin.ShadowKey{Thing: twin.ThingName(fmt.Sprintf("thing-%06d", i))}, 6)
	}
	r := history.New(unexpired{s}, nil)
	names, heads := make([]twin.ThingName, things), make([]twin.Head, things)
	for i := range things {
		names[i], heads[i].Seq = twin.ThingName(fmt.Sprintf("thing-%06d", i)), 6
	}
	b.Run("each", func(b *testing.B) {
		for b.Loop() {
			for _, name := range names {
				if _, _, err := r.At(b.Context(), twin.ShadowKey{Thing: name}, history.Point{Time: start + 150*second}); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("many", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.AtMany(b.Context(), names, heads, start+150*second, true); err != nil {
				b.Fatal(err)
			}
		}
	})
}
