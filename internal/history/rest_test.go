package history_test

import (
	"context"
	"encoding/base64"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

func wantError(t *testing.T, err error, kind twin.ErrorKind, text string) {
	t.Helper()
	if twin.Kind(err) != kind || !strings.Contains(twin.ErrorMessage(err), text) {
		t.Errorf("got %v, want kind %d with %q", err, kind, text)
	}
}

func TestReader_At_NotFound(t *testing.T) {
	w := newWorld(t)
	r := w.reader()
	_, _, err := r.At(t.Context(), keys[0], history.Point{Time: start})
	wantError(t, err, twin.KindNotFound, "none is in the history")
	w.update(keys[0], `{"reported":{"t":1}}`)
	w.now += hour
	w.update(keys[0], "")
	_, _, err = r.At(t.Context(), keys[0], history.Point{Time: start - 1})
	wantError(t, err, twin.KindNotFound, "the first is of 2024-10-04T00:00:00.000Z, version 1, seq 1")
	_, _, err = r.At(t.Context(), keys[0], history.Point{Time: w.now + 1})
	wantError(t, err, twin.KindNotFound, "was deleted at 2024-10-04T01:00:00.000Z")
	_, _, err = r.At(t.Context(), keys[0], history.Point{Version: 9})
	wantError(t, err, twin.KindNotFound, "no state for version 9")
	_, _, err = r.At(t.Context(), keys[0], history.Point{})
	wantError(t, err, twin.KindInvalid, "exactly one")
	_, _, err = r.At(t.Context(), keys[0], history.Point{Time: 1, Seq: 1})
	wantError(t, err, twin.KindInvalid, "exactly one")
	in2106 := twin.Time(4_294_967_296_000)
	w.update(keys[0], `{"reported":{"t":2}}`)
	s, _, err := r.At(t.Context(), keys[0], history.Point{Time: in2106})
	if err != nil || s.Version != 3 {
		t.Errorf("in 2106: %v, %v", s, err)
	}
	s, _, err = r.At(t.Context(), keys[0], history.Point{Time: math.MaxInt64})
	if err != nil || s.Version != 3 {
		t.Errorf("at the end of time: %v, %v", s, err)
	}
}

// TestReader_Expired reads around the day before which everything has expired.
func TestReader_Expired(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t)
		w.live(rng, 250, keys, false)
		middle := w.facts[125].ev.Time
		cut := middle - middle%day
		w.expire(cut)
		r := w.reader()
		for range 100 {
			at := start + twin.Time(rng.Int64N(int64(w.now-start)))
			key := keys[rng.IntN(2)]
			want := w.stateAt(key, at)
			base, ok := w.past.bases[key]
			if ok && at < base.Time {
				want = nil
			}
			w.wantAt(r, key, history.Point{Time: at}, want)
		}
		for _, key := range keys {
			var want []fact
			for _, f := range w.of(key) {
				if f.ev.Time >= cut {
					want = append(want, f)
				}
			}
			q := history.Query{Key: key, Limit: 7}
			w.wantStates(q, w.walk(r, q), want)
		}
		if base, ok := w.past.bases[keys[0]]; ok {
			_, _, err := r.At(t.Context(), keys[0], history.Point{Time: base.Time - 1})
			wantError(t, err, twin.KindNotFound, "older history has expired")
			_, err = r.Diff(t.Context(), keys[0], history.Point{Time: base.Time - 1}, history.Point{Time: w.now})
			wantError(t, err, twin.KindNotFound, "older history has expired")
		}
	})
}

func TestReader_BadInput(t *testing.T) {
	w := newWorld(t)
	for range 30 {
		w.update(keys[0], `{"reported":{"t":1}}`)
		w.now += second
	}
	r := w.reader()
	ctx := t.Context()
	for want, q := range map[string]history.Query{
		"over the maximum of 10000":   {Limit: 1e9},
		"is not positive":             {Limit: -1},
		"is after to":                 {From: 2, To: 1},
		"before 1970":                 {From: -1},
		"version range: 3 is after 2": {FromVersion: 3, ToVersion: 2},
		"each counts its own":         {AllShadows: true, FromVersion: 3},
		"The cursor is damaged":       {Cursor: "%%%"},
		"The cursor is of format 0":   {Cursor: "AAAAAAAAAAA"},
		"belongs to another query":    {Cursor: "AQAAAAAAAAA"},
	} {
		q.Key = keys[0]
		_, err := r.States(ctx, q)
		wantError(t, err, twin.KindInvalid, want)
	}
	_, err := r.Log(ctx, history.LogQuery{Thing: "pump", Filter: history.Filter{Kinds: []twin.EventKind{77}}})
	wantError(t, err, twin.KindInvalid, "77 is no kind")
	_, err = r.Log(ctx, history.LogQuery{Thing: "pump", Limit: 1e9})
	wantError(t, err, twin.KindInvalid, "maximum")
	_, err = history.ParseKinds([]string{"updated", "eaten"})
	wantError(t, err, twin.KindInvalid, `"eaten" is no kind of event; there are updated, deleted`)
	_, err = r.Series(ctx, keys[0], "temperature", 1, 2, 0)
	wantError(t, err, twin.KindInvalid, "does not name a value")
	_, err = r.Series(ctx, keys[0], "reported.t", 2, 1, 0)
	wantError(t, err, twin.KindInvalid, "is after to")
	_, err = r.Series(ctx, keys[0], "reported.t", 2, 0, 0)
	wantError(t, err, twin.KindInvalid, "needs an end")
	_, err = r.Fleet(ctx, history.FleetQuery{Model: "m", Limit: 5000})
	wantError(t, err, twin.KindInvalid, "maximum of 1000")
	_, err = r.Fleet(ctx, history.FleetQuery{})
	wantError(t, err, twin.KindInvalid, "needs one")
	_, err = r.Summary(ctx, keys[0], history.Window{Now: w.now, Limit: 1001})
	wantError(t, err, twin.KindInvalid, "maximum of 1000")
}

// TestCursor alters each bit of a cursor, and uses it for another query.
func TestCursor(t *testing.T) {
	w := newWorld(t)
	for range 30 {
		w.update(keys[0], `{"reported":{"t":1}}`)
		w.now += second
	}
	q := history.Query{Key: keys[0], Limit: 10}
	p, err := w.reader().States(t.Context(), q)
	if err != nil || p.Next == "" {
		t.Fatalf("%v, cursor %q", err, p.Next)
	}
	raw, err := base64.RawURLEncoding.DecodeString(string(p.Next))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(raw) {
		b := slices.Clone(raw)
		b[i/8] ^= 1 << (i % 8)
		q.Cursor = history.Cursor(base64.RawURLEncoding.EncodeToString(b))
		_, err := w.reader().States(t.Context(), q)
		wantError(t, err, twin.KindInvalid, "cursor")
	}
	for i := range p.Next {
		q.Cursor = p.Next[:i] + "-" + p.Next[i+1:]
		if i > 0 && q.Cursor != p.Next {
			_, err := w.reader().States(t.Context(), q)
			wantError(t, err, twin.KindInvalid, "cursor")
		}
	}
	q.Cursor, q.Newest = p.Next, true
	_, err = w.reader().States(t.Context(), q)
	wantError(t, err, twin.KindInvalid, "another query")
}

func TestReader_Log_Model(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t)
		w.live(rng, 250, keys, true)
		for range 25 {
			f := history.Filter{}
			if rng.IntN(2) == 0 {
				f.Kinds = []twin.EventKind{twin.EventKind(1 + rng.IntN(8)), twin.EventKind(1 + rng.IntN(8))}
			}
			f.SeverityMin = twin.Severity(max(rng.IntN(8)-3, 0))
			if rng.IntN(4) == 0 {
				f.Text = "NUMBER 1"
			}
			if rng.IntN(4) == 0 {
				f.Correlation = "c1"
			}
			if rng.IntN(2) == 0 {
				f.From = w.facts[rng.IntN(len(w.facts))].ev.Time
				f.To = f.From + day
			}
			var want []twin.Seq
			for _, fact := range w.facts {
				ev := fact.ev
				if (len(f.Kinds) == 0 || slices.Contains(f.Kinds, ev.Kind)) && ev.Severity >= f.SeverityMin &&
					(f.Text == "" || strings.Contains(ev.Message, "Number 1")) && (f.Correlation == "" || ev.Correlation == "c1") &&
					ev.Time >= f.From && (f.To == 0 || ev.Time < f.To) {
					want = append(want, ev.Seq)
				}
			}
			q := history.LogQuery{Thing: "pump", Filter: f, Newest: rng.IntN(2) == 0, Limit: 1 + rng.IntN(30)}
			if q.Newest {
				slices.Reverse(want)
			}
			var got []twin.Seq
			for {
				p, err := w.reader().Log(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				for i := range p.Events {
					got = append(got, p.Events[i].Seq)
				}
				if q.Cursor = p.Next; q.Cursor == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%+v: got %v, want %v", q, got, want)
			}
		}
	})
}

func TestReader_Fleet_Model(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t)
		fleet := []twin.ShadowKey{{Thing: "a"}, {Thing: "b"}, {Thing: "b", Shadow: "s"}, {Thing: "c"}, {Thing: "d"}}
		w.live(rng, 350, fleet, false)
		for range 8 {
			q := history.FleetQuery{Model: "m", Newest: rng.IntN(2) == 0, Limit: 1 + rng.IntN(60), Form: history.Form(rng.IntN(2))}
			if rng.IntN(2) == 0 {
				q.From = w.facts[rng.IntN(len(w.facts))].ev.Time
				q.To = q.From + day
			}
			var want []fact
			for _, f := range w.facts {
				if f.ev.Kind.OfShadow() && f.ev.Time >= q.From && (q.To == 0 || f.ev.Time < q.To) {
					want = append(want, f)
				}
			}
			slices.SortStableFunc(want, func(a, b fact) int {
				if a.ev.Time != b.ev.Time {
					return int(a.ev.Time - b.ev.Time)
				}
				return strings.Compare(string(a.ev.Thing), string(b.ev.Thing))
			})
			var got []history.State
			for {
				p, err := w.reader().Fleet(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, p.States...)
				if q.Cursor = p.Next; q.Cursor == "" {
					break
				}
			}
			w.wantStates(history.Query{Newest: q.Newest, Form: q.Form}, got, want)
		}
	})
}

func TestReader_Summary(t *testing.T) {
	w := newWorld(t)
	connect := func(kind twin.EventKind, session string) {
		w.log(twin.Event{Thing: "pump", Kind: kind, Origin: twin.Origin{Door: twin.DoorMQTT, Session: session}})
	}
	w.update(keys[0], `{"reported":{"temperature":10,"on":true,"deep":{"x":1},"a.b":4}}`)
	w.now += 30 * hour // the window begins 24 h before now: 6 h from here
	connect(twin.EventConnected, "pump")
	w.update(keys[0], `{"reported":{"temperature":20}}`)
	w.now += 3 * hour
	connect(twin.EventDisconnected, "pump")
	w.now += hour
	connect(twin.EventConnected, "pump")
	since := w.now
	w.update(keys[0], `{"reported":{"a.b":null}}`)
	w.now += 2 * hour
	w.update(keys[0], `{"desired":{"mode":"x"}}`)
	w.log(twin.Event{Thing: "pump", Kind: twin.EventManaged, Origin: twin.Origin{Door: twin.DoorREST, Session: "admin"}})
	now := w.now
	s, err := w.reader().Summary(t.Context(), keys[0], history.Window{Now: now, To: now, Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	// 18 h at 10, then 6 h at 20; a.b was 4 for 22 h.
	want := map[string]float64{"avgTemperature": 12.5, "avgA.b": 4}
	got := make(map[string]float64)
	for _, a := range s.Averages {
		got[a.Title()] = a.Mean
		if a.Name == "a.b" && a.Known != 22*hour {
			t.Errorf("%s was known for %d ms, want 22 h", a.Name, a.Known)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("averages %v, want %v", got, want)
	}
	if !s.Connected || s.Since != since || s.UptimeHours != 2 || s.LastSeen != since || s.FirstContact != start {
		t.Errorf("contact: %+v", s.Contact)
	}
	// Of the window up to now (exclusive) there are two states; the third is of now.
	if len(s.States) != 2 || s.States[0].Event.Version != 3 || s.States[1].Event.Version != 2 || s.Next != "" {
		t.Errorf("%d states, next %q", len(s.States), s.Next)
	}
	s, err = w.reader().Summary(t.Context(), keys[0], history.Window{Now: now, Limit: 2})
	if err != nil || len(s.States) != 2 || s.States[0].Event.Version != 4 {
		t.Fatalf("%d states, %v", len(s.States), err)
	}
	rest, err := w.reader().States(t.Context(), history.Query{Key: keys[0], From: s.From, To: s.To, Newest: true, Cursor: s.Next})
	if err != nil || len(rest.States) != 1 || rest.States[0].Event.Version != 2 {
		t.Errorf("the rest: %d states, %v", len(rest.States), err)
	}
}

func TestReader_Contact_NeverConnected(t *testing.T) {
	w := newWorld(t)
	c, err := w.reader().Contact(t.Context(), "pump", w.now)
	if err != nil || c != (history.Contact{}) {
		t.Errorf("of nothing: %+v, %v", c, err)
	}
	w.update(keys[1], `{"reported":{"t":1}}`)
	c, err = w.reader().Contact(t.Context(), "pump", w.now+3*hour)
	if err != nil || c.Known || c.Connected || c.UptimeHours != 3 || c.LastSeen != start {
		t.Errorf("never connected: %+v, %v", c, err)
	}
}

// TestReader_InForce: the value a window begins with, and one that came late.
func TestReader_InForce(t *testing.T) {
	w := newWorld(t)
	w.update(keys[0], `{"reported":{"a":{"t":1.50}}}`)
	w.now += hour
	w.update(keys[0], `{"reported":{"a":{"t":2}}}`)
	r := w.reader()
	v, ok, err := r.InForce(t.Context(), keys[0], "reported.a.t", start+hour-1)
	if err != nil || !ok || string(v.JSON) != "1.50" || v.Stamp != start.Seconds() || v.Since != start || v.Seq != 1 {
		t.Errorf("%+v, %t, %v", v, ok, err)
	}
	w.now += 10 * 60 * second
	w.record(keys[0], `{"reported":{"a":{"t":7}}}`, 9, start+hour/2)
	v, ok, err = r.InForce(t.Context(), keys[0], "reported.a.t", start+hour-1)
	if err != nil || !ok || string(v.JSON) != "7" || v.Since != start+hour/2 {
		t.Errorf("late: %+v, %t, %v", v, ok, err)
	}
	if _, ok, err = r.InForce(t.Context(), keys[0], "reported.a.t", start-1); ok || err != nil {
		t.Errorf("before the first: %t, %v", ok, err)
	}
}

// TestReader_At_Recorded: of a shadow that lives elsewhere all states are recorded, and
// looking at one must not read them all.
func TestReader_At_Recorded(t *testing.T) {
	w := newWorld(t)
	for i := range 2000 {
		w.now += 10 * second
		w.record(keys[0], `{"reported":{"t":1}}`, twin.Version(i+1), w.now-second)
	}
	w.past.reads = 0
	at := w.facts[1500].ev.OriginTime
	w.wantAt(w.reader(), keys[0], history.Point{Time: at}, &w.facts[1500])
	if w.past.reads > 64+64+512+4 {
		t.Errorf("it took %d events", w.past.reads)
	}
	w.wantAt(w.reader(), keys[0], history.Point{Version: 700}, &w.facts[699])
}

// TestReader_Version_Lives: versions that started again are those of the newest life
// that reached them.
func TestReader_Version_Lives(t *testing.T) {
	w := newWorld(t)
	key := keys[0]
	for life, n := range []int{700, 40, 300, 5} {
		if life > 0 {
			w.update(key, "")
			w.now += twin.TombstoneKeep
		}
		for i := range n {
			w.update(key, `{"reported":{"n":1}}`)
			if i%3 > 0 {
				w.now += 20 * 60 * second
			}
		}
	}
	newest := make(map[twin.Version]*fact)
	fs := w.of(key)
	for i := range fs {
		newest[fs[i].ev.Version] = &fs[i]
	}
	if v := fs[len(fs)-1].ev.Version; v != 5 {
		t.Fatalf("the last life is at version %d", v)
	}
	for v := twin.Version(1); v < 705; v += 3 {
		w.wantAt(w.reader(), key, history.Point{Version: v}, newest[v])
	}
	q := history.Query{Key: key, FromVersion: 2, ToVersion: 300, Limit: 100}
	w.wantStates(q, w.walk(w.reader(), q), fs[len(fs)-4:])
	q.FromVersion, q.ToVersion = 3, 4
	w.wantStates(q, w.walk(w.reader(), q), fs[len(fs)-3:len(fs)-1])
}

// endless is a log of which nothing matches.
type endless struct{ history.Store }

func (endless) ThingEvents(_ context.Context, r store.ThingRange) ([][]byte, error) {
	var evs [][]byte
	for seq := r.After + 1; seq <= r.After+twin.Seq(r.Limit); seq++ {
		ev := twin.Event{Thing: r.Thing, Seq: seq, Kind: twin.EventReported, Time: twin.Time(seq)}
		if seq == history.ScanMax+7 {
			ev.Type = "needle"
		}
		evs = append(evs, ev.AppendBinary(nil))
	}
	return evs, nil
}

// TestReader_Log_ScanMax: looking for what is rare ends, and goes on by cursor.
func TestReader_Log_ScanMax(t *testing.T) {
	r := history.New(endless{}, nil)
	q := history.LogQuery{Thing: "pump", Filter: history.Filter{Type: "needle"}}
	p, err := r.Log(t.Context(), q)
	if err != nil || len(p.Events) != 0 || p.Next == "" {
		t.Fatalf("%d events, next %q, %v", len(p.Events), p.Next, err)
	}
	q.Cursor = p.Next
	p, err = r.Log(t.Context(), q)
	if err != nil || len(p.Events) != 1 || p.Events[0].Seq != history.ScanMax+7 {
		t.Fatalf("%d events, %v", len(p.Events), err)
	}
}
