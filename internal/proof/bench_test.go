package proof_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// benchWorld is a store of things that report three numbers a minute, as the figures of
// docs/benchmarks.md have it. It is made without an engine.
func benchWorld(b *testing.B, things, events int) *world {
	b.Helper()
	w := newWorld()
	start := twin.TimeOf(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
	for t := range things {
		key := twin.ShadowKey{Thing: twin.ThingName(fmt.Sprintf("pump-%04d", t))}
		var state *twin.Shadow
		var head twin.Head
		for i := range events {
			ev := twin.Event{
				Thing: key.Thing, Seq: head.Seq + 1, Kind: twin.EventUpdated, Version: twin.Version(i + 1), Time: start + twin.Time(i*60_000),
				Origin: twin.Origin{Door: twin.DoorMQTT, Session: string(key.Thing), PacketID: uint16(i%65535 + 1)},
				Patch:  fmt.Appendf(nil, `{"reported":{"temperature":%d.%d,"pressure":%d,"rpm":%d}}`, 20+i%30, i%10, 900+i%200, 1000+i*7%2000),
			}
			var err error
			if state, err = twin.Fold(state, &ev); err != nil {
				b.Fatal(err)
			}
			dayStarts := head.Time.Day() != ev.Time.Day()
			if dayStarts || i%256 == 0 {
				ev.Snapshot = state.AppendBinary(nil)
			}
			if head.Seq != 0 && (head.Seq%twin.SegmentEvents == 0 || dayStarts) {
				w.anchors[key.Thing] = append(w.anchors[key.Thing], head)
			}
			canonical := ev.AppendBinary(nil)
			head = twin.Head{Seq: ev.Seq, Hash: head.Hash.Next(canonical), Time: ev.Time}
			w.events[key.Thing] = append(w.events[key.Thing], kept{place: ev.Seq, event: canonical})
		}
		w.heads[key.Thing] = head
		w.docs[key] = store.Shadow{Doc: state.AppendBinary(nil), Info: store.ShadowInfo{Seq: head.Seq}}
	}
	return w
}

func benchmarkRun(b *testing.B, run func(w *world) (proof.Report, error)) {
	w := benchWorld(b, 100, 3000)
	b.ReportAllocs()
	var events uint64
	for b.Loop() {
		r, err := run(w)
		if err != nil || !r.OK() {
			b.Fatalf("%v, %v", err, r.Findings)
		}
		events += r.Events
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkVerify(b *testing.B) {
	benchmarkRun(b, func(w *world) (proof.Report, error) { return proof.Verify(context.Background(), w, proof.Options{}) })
}

func BenchmarkRebuild(b *testing.B) {
	benchmarkRun(b, func(w *world) (proof.Report, error) { return proof.Rebuild(context.Background(), w, proof.Options{}) })
}

func BenchmarkExportAudit(b *testing.B) {
	benchmarkRun(b, func(w *world) (proof.Report, error) {
		r, _, err := proof.ExportAudit(context.Background(), w, discard{}, proof.Options{})
		return r, err
	})
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
