package history_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// mirrorWorld is an engine that mirrors what a random cloud says.
type mirrorWorld struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time // of the engine
	engine *engine.Engine
	past   *past
	reader *history.Reader
}

func newMirrorWorld(t *testing.T, rng *rand.Rand) *mirrorWorld {
	t.Helper()
	w := &mirrorWorld{t: t, rng: rng, now: (start + day).Std()}
	w.past = &past{Store: store.NewMemory(), own: true, bases: map[twin.ShadowKey]twin.Event{}}
	e, err := engine.Open(slog.New(slog.DiscardHandler), w.past.Store, engine.Options{Now: func() time.Time { return w.now }, Committers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	w.engine, w.reader = e, history.New(w.past, nil)
	return w
}

func (w *mirrorWorld) mirror(doc string) twin.MirrorOutcome {
	w.t.Helper()
	d, err := twin.ParseMirrorDocument([]byte(doc), twin.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan twin.MirrorResult, 1)
	if err := w.engine.Mirror(twin.MirrorRequest{Key: keys[0], Document: d}, func(r twin.MirrorResult) { done <- r }); err != nil {
		w.t.Fatal(err)
	}
	r := <-done
	if r.Err != nil {
		w.t.Fatal(r.Err)
	}
	return r.Outcome
}

func (w *mirrorWorld) update(state string) {
	w.t.Helper()
	req, err := twin.ParseRequest([]byte(`{"state":`+state+`}`), twin.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan twin.Result, 1)
	if err := w.engine.Submit(twin.Update{Key: keys[0], Request: req}, func(r twin.Result) { done <- r }); err != nil {
		w.t.Fatal(err)
	}
	if r := <-done; r.Err != nil {
		w.t.Fatal(r.Err)
	}
}

// message is a document without a previous.
func message(version int, at twin.Time) string {
	return fmt.Sprintf(`{"current":{"state":{"reported":{"n":%d}},"metadata":{"reported":{"n":{"timestamp":%d}}},"version":%d},"timestamp":%d}`,
		version, at.Seconds(), version, at.Seconds())
}

func (w *mirrorWorld) at(p history.Point) (version twin.Version, state string) {
	w.t.Helper()
	s, _, err := w.reader.At(context.Background(), keys[0], p)
	if twin.Kind(err) == twin.KindNotFound {
		return 0, ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Version, string(s.Reported.AppendJSON(nil))
}

// A backlog of a day comes in any order: each version and each instant is as the cloud had
// it, however late.
func TestMirror_past(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		w := newMirrorWorld(t, rng)
		type sent struct {
			version int
			at      twin.Time
		}
		var docs []sent
		at := start
		for v := 1; v < 400; v += 1 + rng.IntN(3)*rng.IntN(40) {
			at += second * twin.Time(rng.IntN(400))
			docs = append(docs, sent{v, at})
		}
		order := slices.Clone(docs)
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, d := range order {
			w.mirror(message(d.version, d.at))
			w.now = w.now.Add(time.Duration(rng.IntN(3)) * time.Minute)
		}
		for _, d := range docs {
			if v, state := w.at(history.Point{Version: twin.Version(d.version)}); int(v) != d.version || state != fmt.Sprintf(`{"n":%d}`, v) {
				t.Errorf("version %d is %d, %s", d.version, v, state)
			}
		}
		for range 300 {
			instant := start + twin.Time(rng.Int64N(int64(at-start+10*second)))
			want := 0
			for _, d := range docs {
				if d.at <= instant {
					want = d.version
				}
			}
			if v, _ := w.at(history.Point{Time: instant}); int(v) != want {
				t.Errorf("at %d the version was %d, want %d", instant, v, want)
			}
		}
		p, err := w.reader.States(context.Background(), history.Query{Key: keys[0], FromVersion: 50, ToVersion: 300, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, s := range p.States {
			if s.Shadow.Version != s.Event.Version {
				t.Errorf("the state of version %d has version %d", s.Event.Version, s.Shadow.Version)
			}
			got++
		}
		want := 0
		for _, d := range docs {
			if d.version >= 50 && d.version <= 300 {
				want++
			}
		}
		if got != want {
			t.Errorf("%d states, want %d", got, want)
		}
	})
}

// What is done here and what the cloud says take turns.
func TestMirror_pastOfBoth(t *testing.T) {
	w := newMirrorWorld(t, nil)
	at := twin.TimeOf(w.now)
	pass := func(d time.Duration) { w.now = w.now.Add(d) }
	w.mirror(message(5, at))
	pass(time.Minute)
	w.update(`{"reported":{"here":1}}`) // version 6
	pass(time.Minute)
	if o := w.mirror(message(9, at+100*second)); o != twin.MirrorApplied { // commits at 120
		t.Fatal(o)
	}
	w.mirror(message(8, at+90*second))
	for _, c := range []struct {
		after twin.Time
		state string
	}{
		{-1, ""},
		{0, `{"n":5}`},
		{59 * second, `{"n":5}`},
		{60 * second, `{"n":5,"here":1}`},
		{89 * second, `{"n":5,"here":1}`},
		{90 * second, `{"n":8}`},
		{99 * second, `{"n":8}`},
		{100 * second, `{"n":9}`},
		{1000 * second, `{"n":9}`},
	} {
		if _, state := w.at(history.Point{Time: at + c.after}); state != c.state {
			t.Errorf("after %d s the state was %s, want %s", c.after/second, state, c.state)
		}
	}
	for v, state := range map[twin.Version]string{5: `{"n":5}`, 6: `{"n":5,"here":1}`, 7: "", 8: `{"n":8}`, 9: `{"n":9}`} {
		if _, got := w.at(history.Point{Version: v}); got != state {
			t.Errorf("version %d is %s, want %s", v, got, state)
		}
	}
}

// After the cloud has made the shadow anew, a version is that of the new life first.
func TestMirror_pastLives(t *testing.T) {
	w := newMirrorWorld(t, nil)
	at := twin.TimeOf(w.now)
	for v := 1; v <= 40; v++ {
		w.mirror(message(v, at+twin.Time(v)*second))
		w.now = w.now.Add(time.Second)
	}
	w.now = w.now.Add(72 * time.Hour)
	again := twin.TimeOf(w.now)
	for v := 1; v <= 3; v++ {
		w.mirror(message(v, again+twin.Time(v)*second))
		w.now = w.now.Add(time.Second)
	}
	for v := range twin.Version(40) {
		_, ev, err := w.reader.At(context.Background(), keys[0], history.Point{Version: v + 1})
		if err != nil || (ev.Time >= again) != (v+1 <= 3) {
			t.Errorf("version %d is of event %d, %v", v+1, ev.Seq, err)
		}
	}
	if v, _ := w.at(history.Point{Time: again - second}); v != 40 {
		t.Errorf("before it was made anew the version was %d, want 40", v)
	}
	p, err := w.reader.States(context.Background(), history.Query{Key: keys[0], FromVersion: 2, Limit: 100})
	if err != nil || len(p.States) != 2 || p.States[0].Event.Time < again {
		t.Errorf("%d states, %v", len(p.States), err)
	}
}
