package history_test

import (
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// stateAt is the naive model of [history.Reader.At] by time; nil if there was nothing.
func (w *world) stateAt(key twin.ShadowKey, t twin.Time) *fact {
	var best *fact
	instant := func(f *fact) twin.Time {
		if f.ev.Kind == twin.EventRecorded {
			return f.ev.OriginTime
		}
		return f.ev.Time
	}
	fs := w.of(key)
	for i := range fs {
		f := &fs[i]
		if instant(f) > t || f.ev.Time > t+history.LateMax {
			continue
		}
		better := best == nil || instant(f) > instant(best)
		if best != nil && instant(f) == instant(best) {
			better = f.ev.Seq > best.ev.Seq
			if (f.ev.Kind == twin.EventRecorded) || best.ev.Kind == twin.EventRecorded {
				better = f.ev.Version > best.ev.Version || f.ev.Version == best.ev.Version && better
			}
		}
		if better {
			best = f
		}
	}
	return best
}

func (w *world) wantAt(r *history.Reader, key twin.ShadowKey, p history.Point, want *fact) {
	w.t.Helper()
	s, ev, err := r.At(w.t.Context(), key, p)
	if want == nil || !want.after.Exists() {
		if twin.Kind(err) != twin.KindNotFound {
			w.t.Fatalf("at %+v of %s: got version %d and %v, want not found", p, key, ev.Version, err)
		}
		return
	}
	if err != nil {
		w.t.Fatalf("at %+v of %s: %v, want seq %d", p, key, err, want.ev.Seq)
	}
	if ev.Seq != want.ev.Seq || encoding(s) != encoding(want.after) {
		w.t.Fatalf("at %+v of %s: got seq %d, want %d: %s", p, key, ev.Seq, want.ev.Seq, s.Reported.AppendJSON(nil))
	}
}

func TestReader_At_Model(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		for _, late := range []bool{false, true} {
			w := newWorld(t)
			w.live(rng, 450, keys, late)
			r := w.reader()
			for range 300 {
				at := start - 5 + twin.Time(rng.Int64N(int64(w.now-start+hour)))
				if rng.IntN(2) == 0 {
					at = w.facts[rng.IntN(len(w.facts))].ev.Time - twin.Time(rng.IntN(2))
				}
				key := keys[rng.IntN(2)]
				w.wantAt(r, key, history.Point{Time: at}, w.stateAt(key, at))
			}
			if late {
				continue
			}
			for _, key := range keys {
				w.checkVersions(r, key)
			}
			w.checkSeqs(r)
		}
	})
}

func (w *world) checkVersions(r *history.Reader, key twin.ShadowKey) {
	w.t.Helper()
	newest := make(map[twin.Version]*fact)
	fs := w.of(key)
	for i := range fs {
		newest[fs[i].ev.Version] = &fs[i]
	}
	for v := twin.Version(1); v < twin.Version(len(fs)+3); v += 1 + twin.Version(len(fs)/60) {
		w.wantAt(r, key, history.Point{Version: v}, newest[v])
	}
}

func (w *world) checkSeqs(r *history.Reader) {
	w.t.Helper()
	last := make(map[twin.ShadowKey]*fact)
	for i := range w.facts {
		f := &w.facts[i]
		if f.ev.Kind.OfShadow() {
			last[twin.ShadowKey{Thing: f.ev.Thing, Shadow: f.ev.Shadow}] = f
		}
		if i%17 == 0 {
			for _, key := range keys {
				w.wantAt(r, key, history.Point{Seq: f.ev.Seq}, last[key])
			}
		}
	}
}

// TestReader_Pebble reads a history from the store that the server has.
// Many at once are as each on its own, in both stores.
func TestReader_AtMany(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		for _, own := range []bool{false, true} {
			w := newWorld(t)
			if own {
				s, err := pebblestore.Open(t.TempDir(), pebblestore.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				w.past.Store = s
			}
			w.live(rng, 600, keys, false)
			r := w.reader()
			things := append(slices.Sorted(maps.Keys(w.heads)), "zz-never")
			heads := make([]twin.Head, len(things))
			for i, thing := range things {
				heads[i] = w.heads[thing]
			}
			for range 100 {
				at := w.facts[rng.IntN(len(w.facts))].ev.Time + twin.Time(rng.IntN(3)-1)
				found, err := r.AtMany(t.Context(), things, heads, at, true)
				if err != nil {
					t.Fatal(err)
				}
				for i, thing := range things {
					want := w.stateAt(twin.ShadowKey{Thing: thing}, at)
					got := found[i].Shadow
					if found[i].Err != nil || want == nil && got.Exists() || want != nil && (got.Exists() != want.after.Exists() || got.Exists() && encoding(got) != encoding(want.after)) {
						t.Fatalf("%s at %d: %v, %+v, want %+v", thing, at, found[i].Err, got, want)
					}
				}
			}
		}
	})
}

func TestReader_Pebble(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		s, err := pebblestore.Open(t.TempDir(), pebblestore.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		w := newWorld(t)
		w.past.Store, w.past.own = s, true
		w.live(rng, 600, keys, true)
		r := w.reader()
		for range 200 {
			key := keys[rng.IntN(2)]
			at := start + twin.Time(rng.Int64N(int64(w.now-start)))
			w.wantAt(r, key, history.Point{Time: at}, w.stateAt(key, at))
		}
		for range 20 {
			q := history.Query{Key: keys[0], AllShadows: rng.IntN(2) == 0, Newest: rng.IntN(2) == 0, Limit: 50 + rng.IntN(200)}
			q.From = start + twin.Time(rng.Int64N(int64(w.now-start)))
			var want []fact
			for _, f := range w.facts {
				if f.ev.Kind.OfShadow() && (q.AllShadows || f.ev.Shadow == "") && f.ev.Time >= q.From {
					want = append(want, f)
				}
			}
			w.wantStates(q, w.walk(r, q), want)
		}
	})
}

// TestReader_At_LongDay has more than 256 events on a day, so that the second snapshot
// matters, and must not read much more than the fold needs.
func TestReader_At_LongDay(t *testing.T) {
	w := newWorld(t)
	for i := range 1500 {
		w.update(keys[0], `{"reported":{"n":`+strconv.Itoa(i)+`,"k`+strconv.Itoa(i%40)+`":1}}`)
		w.now += second
	}
	r := w.reader()
	for _, i := range []int{0, 1, 255, 256, 257, 511, 777, 1499} {
		w.past.reads = 0
		w.wantAt(r, keys[0], history.Point{Time: start + twin.Time(i)*second}, &w.facts[i])
		if w.past.reads > 256+2*64 {
			t.Errorf("state %d took %d events", i, w.past.reads)
		}
		w.wantAt(r, keys[0], history.Point{Version: twin.Version(i + 1)}, &w.facts[i])
	}
}

// walk reads all pages of a query.
func (w *world) walk(r *history.Reader, q history.Query) []history.State {
	w.t.Helper()
	var all []history.State
	for range 10_000 {
		p, err := r.States(w.t.Context(), q)
		if err != nil {
			w.t.Fatalf("%+v: %v", q, err)
		}
		if len(p.States) > q.Limit {
			w.t.Fatalf("%+v: %d states", q, len(p.States))
		}
		all = append(all, p.States...)
		if p.Next == "" {
			return all
		}
		q.Cursor = p.Next
	}
	w.t.Fatalf("%+v: it does not end", q)
	return nil
}

func (w *world) wantStates(q history.Query, got []history.State, want []fact) {
	w.t.Helper()
	if q.Newest {
		slices.Reverse(want)
	}
	if len(got) != len(want) {
		w.t.Fatalf("%+v: got %d states, want %d", q, len(got), len(want))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i].Event.AppendBinary(nil), want[i].ev.AppendBinary(nil)) {
			w.t.Fatalf("%+v: state %d: got seq %d, want %d", q, i, got[i].Event.Seq, want[i].ev.Seq)
		}
		if q.Form == history.States && encoding(got[i].Shadow) != encoding(want[i].after) {
			w.t.Fatalf("%+v: state %d, seq %d is another", q, i, want[i].ev.Seq)
		}
	}
}

func TestReader_States_Model(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t)
		w.live(rng, 400, keys, rng.IntN(2) == 0)
		r := w.reader()
		for range 40 {
			q := history.Query{
				Key: keys[rng.IntN(2)], AllShadows: rng.IntN(3) == 0, Newest: rng.IntN(2) == 0,
				Limit: 1 + rng.IntN(80), Form: history.Form(rng.IntN(2)),
			}
			if rng.IntN(3) > 0 {
				q.From = w.facts[rng.IntN(len(w.facts))].ev.Time
				q.To = q.From + twin.Time(rng.Int64N(int64(3*day)))
			}
			var want []fact
			for _, f := range w.facts {
				mine := f.ev.Shadow == q.Key.Shadow || q.AllShadows
				if f.ev.Kind.OfShadow() && mine && f.ev.Time >= q.From && (q.To == 0 || f.ev.Time < q.To) {
					want = append(want, f)
				}
			}
			w.wantStates(q, w.walk(r, q), want)
		}
	})
}

func TestReader_States_Versions(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t)
		w.live(rng, 500, keys[:1], false)
		fs := w.of(keys[0])
		newest := fs[len(fs)-1].ev.Version
		for range 40 {
			q := history.Query{Key: keys[0], Newest: rng.IntN(2) == 0, Limit: 1 + rng.IntN(50)}
			q.FromVersion = twin.Version(rng.Int64N(int64(newest) + 1))
			q.ToVersion = q.FromVersion + twin.Version(rng.IntN(100))
			if q.ToVersion == 0 {
				continue
			}
			var want []fact
			for _, f := range slices.Backward(fs) { // back to where the newest life began
				if v := f.ev.Version; v >= q.FromVersion && v <= q.ToVersion {
					want = append(want, f)
				}
				if f.ev.Version == 1 {
					break
				}
			}
			slices.Reverse(want)
			w.wantStates(q, w.walk(w.reader(), q), want)
		}
	})
}

func TestReader_Series_Model(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		for _, late := range []bool{false, true} {
			w := newWorld(t)
			w.live(rng, 300, keys[:1], late)
			from := w.facts[rng.IntN(100)].ev.Time
			to := from + 3*hour
			w.checkSeries(rng, from, to, 1+rng.IntN(30))
		}
	})
}

func (w *world) number(t twin.Time) string {
	f := w.stateAt(keys[0], t)
	if f == nil || !f.after.Exists() {
		return ""
	}
	var doc struct{ T json.RawMessage }
	if err := json.Unmarshal(f.after.Reported.AppendJSON(nil), &doc); err != nil {
		w.t.Fatal(err)
	}
	if _, err := strconv.ParseFloat(string(doc.T), 64); err != nil {
		return ""
	}
	return string(doc.T)
}

// checkSeries reads a series in parts and compares the number in force at many instants
// and the mean with the naive model.
func (w *world) checkSeries(rng *rand.Rand, from, to twin.Time, limit int) {
	w.t.Helper()
	r := w.reader()
	var samples []history.Sample
	for at := from; at < to; {
		s, err := r.Series(w.t.Context(), keys[0], "reported.t", at, to, limit)
		if err != nil {
			w.t.Fatal(err)
		}
		if s.Until <= at || s.Complete != (s.Until == to) {
			w.t.Fatalf("series from %d to %d: until %d", at, to, s.Until)
		}
		if len(samples) > 0 && len(s.Samples) == 0 || len(s.Samples) > 0 && s.Samples[0].Time > at {
			samples = append(samples, history.Sample{Time: at}) // nothing is in force
		}
		samples = append(samples, s.Samples...)
		at = s.Until
	}
	inForce := func(t twin.Time) string {
		number := ""
		for _, s := range samples {
			if s.Time <= t {
				number = s.Number
			}
		}
		return number
	}
	for range 200 {
		at := from + twin.Time(rng.Int64N(int64(to-from)))
		if got, want := inForce(at), w.number(at); got != want {
			w.t.Fatalf("at %d: got %q, want %q", at, got, want)
		}
	}
	whole := history.Series{Samples: samples, From: from, Until: to}
	got, err := whole.Aggregate()
	if err != nil {
		w.t.Fatal(err)
	}
	var sum, known float64
	for i := range samples {
		end := to
		if i+1 < len(samples) {
			end = samples[i+1].Time
		}
		if v, err := strconv.ParseFloat(w.number(samples[i].Time), 64); err == nil {
			sum += v * float64(end-samples[i].Time)
			known += float64(end - samples[i].Time)
		}
	}
	if known > 0 && math.Abs(got.Mean-sum/known) > 1e-9 || float64(got.Known) != known {
		w.t.Fatalf("mean: got %+v, want %v over %v", got, sum/known, known)
	}
}

func TestReader_Diff_Model(t *testing.T) {
	seeded(t, func(t *testing.T, rng *rand.Rand) {
		w := newWorld(t)
		w.live(rng, 300, keys[:1], false)
		fs := w.of(keys[0])
		for range 100 {
			a, b := fs[rng.IntN(len(fs))], fs[rng.IntN(len(fs))]
			d, err := w.reader().Diff(t.Context(), keys[0], history.Point{Seq: a.ev.Seq}, history.Point{Seq: b.ev.Seq})
			if err != nil {
				t.Fatal(err)
			}
			doc, want := asDocument(t, a.after), asDocument(t, b.after)
			var patch any
			if err := json.Unmarshal(d.MergePatch, &patch); err != nil {
				t.Fatalf("%s: %v", d.MergePatch, err)
			}
			if got := applyPatch(doc, patch); !reflect.DeepEqual(got, any(want)) {
				t.Fatalf("seq %d to %d: %s gives %v, want %v", a.ev.Seq, b.ev.Seq, d.MergePatch, got, want)
			}
			wantChanges(t, d, a.after, b.after)
		}
	})
}

func asDocument(t *testing.T, s *twin.Shadow) map[string]any {
	doc := map[string]any{}
	if !s.Exists() {
		return doc
	}
	for name, n := range map[string]*twin.Node{"desired": s.Desired, "reported": s.Reported} {
		var v any
		if err := json.Unmarshal(n.AppendJSON(nil), &v); err != nil {
			t.Fatal(err)
		}
		if n != nil {
			doc[name] = v
		}
	}
	return doc
}

// applyPatch is the pseudo code of RFC 7396.
func applyPatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if t, ok := target.(map[string]any); ok {
		maps.Copy(out, t)
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = applyPatch(out[k], v)
	}
	return out
}

func wantChanges(t *testing.T, d history.Difference, a, b *twin.Shadow) {
	t.Helper()
	flat := func(s *twin.Shadow) map[string]string {
		m := map[string]string{}
		if s.Exists() {
			s.Desired.Leaves(func(p string, v []byte, _ int64) { m["desired."+p] = string(v) })
			s.Reported.Leaves(func(p string, v []byte, _ int64) { m["reported."+p] = string(v) })
		}
		return m
	}
	was, is := flat(a), flat(b)
	for _, c := range d.Changes {
		_, had := was[c.Path]
		_, has := is[c.Path]
		ok := c.Op == history.Added && !had && has || c.Op == history.Removed && had && !has || c.Op == history.Changed && had && has
		if !ok || string(c.Before) != was[c.Path] || string(c.After) != is[c.Path] || strings.HasPrefix(c.Path, ".") {
			t.Fatalf("change %+v, was %q, is %q", c, was[c.Path], is[c.Path])
		}
		was[c.Path] = is[c.Path]
		if c.Op == history.Removed {
			delete(was, c.Path)
		}
	}
	if !reflect.DeepEqual(was, is) {
		t.Fatalf("the changes give %v, want %v", was, is)
	}
}
