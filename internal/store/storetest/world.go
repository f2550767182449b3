package storetest

import (
	"fmt"
	"math/rand/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// World makes mutations as the engine would: it follows the heads and shadows of
// some things and builds true events with their hash chain. It is not for several
// goroutines.
type World struct {
	Now   twin.Time // given to the next event; move it as you like, but not back
	Door  string    // the session in the events
	heads map[twin.ThingName]twin.Head
	infos map[twin.ShadowKey]store.ShadowInfo
}

// NewWorld returns a world in which nothing has happened.
func NewWorld(now twin.Time) *World {
	return &World{
		Now: now, Door: "session-1",
		heads: make(map[twin.ThingName]twin.Head),
		infos: make(map[twin.ShadowKey]store.ShadowInfo),
	}
}

// Head returns where a thing stands.
func (w *World) Head(thing twin.ThingName) twin.Head { return w.heads[thing] }

// Accept takes over what a mutation did.
func (w *World) Accept(m store.Mutation) {
	if m.Thing != "" {
		w.heads[m.Thing] = m.Head
		w.infos[twin.ShadowKey{Thing: m.Thing, Shadow: m.Shadow}] = m.Info
	}
}

// Mutation builds an update (or a delete, if !live) of a shadow on top of what was
// accepted.
func (w *World) Mutation(key twin.ShadowKey, patch, doc string, live bool) store.Mutation {
	prev := w.heads[key.Thing]
	e := twin.Event{
		Thing: key.Thing, Shadow: key.Shadow, Seq: prev.Seq + 1, Kind: twin.EventUpdated,
		Version: twin.Version(w.infos[key].Seq) + 1, Time: max(w.Now, prev.Time),
		Origin: twin.Origin{Door: twin.DoorMQTT, Session: w.Door, PacketID: uint16(prev.Seq%65535) + 1, PayloadHash: uint32(len(patch))},
		Patch:  []byte(patch),
	}
	if !live {
		e.Kind, e.Patch = twin.EventDeleted, nil
	}
	event := e.AppendBinary(nil)
	m := store.Mutation{
		Thing: key.Thing, Expect: prev.Seq, Event: event,
		Head:   twin.Head{Seq: e.Seq, Hash: prev.Hash.Next(event), Time: e.Time},
		Shadow: key.Shadow, Doc: []byte(doc), Live: live,
		Info: store.ShadowInfo{Seq: e.Seq, SinceSnapshot: uint16(e.Seq % 256), SnapshotDay: e.Time.Day()},
	}
	if e.Seq%256 == 0 {
		m.Anchor = prev
	}
	return m
}

// Report is an update of the classic shadow with about 200 bytes, like those of the
// benchmarks.
func (w *World) Report(thing twin.ThingName, rng *rand.Rand) store.Mutation {
	state := fmt.Sprintf(`{"reported":{"temperature":%.2f,"humidity":%.2f,"pressure":%.1f,"mode":"running","firmware":"2.14.%d",`+
		`"position":{"x":%.4f,"y":%.4f},"counter":%d,"alarm":false,"rssi":-%d,"battery":%.1f}}`,
		20+rng.Float64()*10, 40+rng.Float64()*20, 990+rng.Float64()*30, rng.IntN(4),
		rng.Float64(), rng.Float64(), rng.IntN(1_000_000), 40+rng.IntN(40), rng.Float64()*100)
	at := w.Now.Seconds()
	doc := fmt.Sprintf(`{"state":%s,"metadata":{"t":%d,"temperature":%d,"humidity":%d,"pressure":%d}}`, state, at, at, at, at)
	return w.Mutation(twin.ShadowKey{Thing: thing}, state, doc, true)
}
