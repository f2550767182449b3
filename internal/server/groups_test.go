package server_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/server"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// fleet is a few things whose models change, in both stores at once, beside a plain list
// of all that ever happened.
type fleet struct {
	t      *testing.T
	rng    *rand.Rand
	now    twin.Time
	clock  atomic.Int64  // the same, for the engines
	stores []store.Store // the reference first
	engine []*engine.Engine
	groups map[string]store.Group
	all    []past // of the reference, by position
	feed   store.Pos
	cuts   store.Policy
}

// past is an event that was.
type past struct {
	ev    twin.Event
	bytes []byte
	class store.Class
	state string // of its shadow after it
}

var fleetModels = []string{"", "pump", "valve", "plain"}

func (f *fleet) open() {
	f.t.Helper()
	f.engine = nil
	for _, s := range f.stores {
		groups, err := store.OpenGroups(f.t.Context(), s, []string{"pump", "valve"})
		if err != nil {
			f.t.Fatal(err)
		}
		if f.groups != nil && !cmp.Equal(groups, f.groups) {
			f.t.Fatalf("groups are %v, were %v", groups, f.groups)
		}
		f.groups = groups
		e, err := engine.Open(slog.New(slog.NewTextHandler(io.Discard, nil)), s, engine.Options{Groups: groups, Now: func() time.Time { return time.UnixMilli(f.clock.Load()) }})
		if err != nil {
			f.t.Fatal(err)
		}
		f.engine = append(f.engine, e)
	}
}

// live lets something happen until an instant, the same in each store.
func (f *fleet) live(until twin.Time) {
	f.t.Helper()
	for f.now < until {
		f.now += twin.Time(f.rng.Int64N(25 * 60 * 1000))
		f.clock.Store(int64(f.now))
		key := agingKeys[f.rng.IntN(len(agingKeys))]
		op, model := f.rng.IntN(20), fleetModels[f.rng.IntN(len(fleetModels))]
		body := fmt.Appendf(nil, `{"state":{"reported":{"t":%d,"k%d":1},"desired":{"s":%d}}}`, f.rng.IntN(100), f.rng.IntN(5), f.rng.IntN(9))
		for _, e := range f.engine {
			done := make(chan error, 1)
			if err := f.happen(e, key, op, model, body, done); err != nil {
				f.t.Fatal(err)
			}
			if err := <-done; err != nil && twin.Kind(err) != twin.KindNotFound {
				f.t.Fatal(err)
			}
		}
		f.learn()
	}
}

func (f *fleet) happen(e *engine.Engine, key twin.ShadowKey, op int, model string, body []byte, done chan error) error {
	answer := func(r twin.EntryResult) { done <- r.Err }
	switch {
	case op == 0:
		return e.Append(twin.Entry{Event: twin.Event{Thing: key.Thing, Kind: twin.EventManaged}, Attributes: func(a *twin.Attributes) (twin.Attributes, error) {
			next := a.Clone()
			next.Model = model
			return next, nil
		}}, answer)
	case op < 4:
		return e.Append(twin.Entry{Event: twin.Event{Thing: key.Thing, Kind: twin.EventReported, Type: "error", Message: "hot"}}, answer)
	}
	u := twin.Update{Key: key, Request: &twin.Request{}, Delete: op == 4, Origin: twin.Origin{Door: twin.DoorREST}}
	if !u.Delete {
		req, err := twin.ParseRequest(body, twin.Limits{})
		if err != nil {
			return err
		}
		u.Request = req
	}
	return e.Submit(u, func(r twin.Result) { done <- r.Err })
}

// learn adds to the list what has come to the feed of the reference.
func (f *fleet) learn() {
	f.t.Helper()
	entries, err := f.stores[0].Feed(f.t.Context(), f.feed, 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, en := range entries {
		ev, err := twin.DecodeEvent(en.Event)
		if err != nil {
			f.t.Fatal(err)
		}
		f.feed = en.Pos
		kind := store.KindLog
		p := past{ev: ev, bytes: en.Event}
		if ev.Kind.OfShadow() {
			kind = store.KindHistory
			s, err := f.stores[0].Shadows(f.t.Context(), []twin.ShadowKey{{Thing: ev.Thing, Shadow: ev.Shadow}})
			if err != nil {
				f.t.Fatal(err)
			}
			p.state = string(s[0].Doc)
		}
		p.class = store.ClassOf(f.groups[ev.Model], kind)
		f.all = append(f.all, p)
	}
}

func (p *past) expired(cuts store.Policy) bool { return p.ev.Time.Day() < cuts[p.class] }

// bases returns the newest event of each shadow that has expired.
func (f *fleet) bases() map[twin.ShadowKey]*past {
	bases := make(map[twin.ShadowKey]*past)
	for i := range f.all {
		if p := &f.all[i]; p.class.Kind() == store.KindHistory && p.expired(f.cuts) {
			bases[twin.ShadowKey{Thing: p.ev.Thing, Shadow: p.ev.Shadow}] = p
		}
	}
	return bases
}

// kept lists the events of a thing that are to be read.
func (f *fleet) kept(thing twin.ThingName, kinds []store.Kind) [][]byte {
	bases := f.bases()
	newest := make(map[store.Group]uint32)
	for i := range f.all {
		if p := &f.all[i]; p.ev.Thing == thing {
			newest[p.class.Group()] = p.ev.Time.Day()
		}
	}
	var begin uint32 // of the log
	for g, day := range newest {
		begin = max(begin, min(f.cuts[store.ClassOf(g, store.KindLog)], day+1))
	}
	var kept [][]byte
	for i := range f.all {
		p := &f.all[i]
		if p.ev.Thing != thing || p.expired(f.cuts) || len(kinds) > 0 && !slices.Contains(kinds, p.class.Kind()) {
			continue
		}
		base := bases[twin.ShadowKey{Thing: p.ev.Thing, Shadow: p.ev.Shadow}]
		if p.class.Kind() == store.KindHistory && base != nil && p.ev.Seq < base.ev.Seq {
			continue
		}
		if p.class.Kind() == store.KindLog && p.ev.Time.Day() < begin {
			continue
		}
		kept = append(kept, p.bytes)
	}
	return kept
}

// compare reads ranges and states of everything.
func (f *fleet) compare(s store.Store) {
	f.t.Helper()
	for _, key := range agingKeys {
		for _, kinds := range [][]store.Kind{nil, {store.KindHistory}, {store.KindLog}} {
			want := f.kept(key.Thing, kinds)
			f.ranges(s, key.Thing, kinds, want)
		}
		f.states(s, key)
	}
}

func (f *fleet) ranges(s store.Store, thing twin.ThingName, kinds []store.Kind, kept [][]byte) {
	f.t.Helper()
	for range 6 {
		r := store.ThingRange{Thing: thing, Kinds: kinds, Limit: 1 + f.rng.IntN(40), Newest: f.rng.IntN(2) == 0}
		span := int64(f.now - agingStart)
		if f.rng.IntN(2) == 0 {
			r.From = agingStart + twin.Time(f.rng.Int64N(span))
		}
		if f.rng.IntN(2) == 0 {
			r.To = agingStart + twin.Time(f.rng.Int64N(span))
		}
		if f.rng.IntN(2) == 0 {
			r.After = twin.Seq(f.rng.IntN(200))
		}
		var want [][]byte
		for _, b := range kept {
			ev, err := twin.DecodeEvent(b)
			if err != nil {
				f.t.Fatal(err)
			}
			if r.Holds(ev.Seq, ev.Time) {
				want = append(want, b)
			}
		}
		if r.Newest {
			slices.Reverse(want)
		}
		want = want[:min(len(want), r.Limit)]
		got, err := s.ThingEvents(f.t.Context(), r)
		if err != nil {
			f.t.Fatal(err)
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			f.t.Fatalf("%+v, expired %v: %d events, want %d", r, f.cuts, len(got), len(want))
		}
	}
}

// states asks what a shadow was at random instants.
func (f *fleet) states(s store.Store, key twin.ShadowKey) {
	f.t.Helper()
	base := f.bases()[key]
	r := history.New(s, nil)
	for range 12 {
		at := agingStart + twin.Time(f.rng.Int64N(int64(f.now-agingStart)))
		var want *past
		for i := range f.all {
			p := &f.all[i]
			if p.ev.Thing == key.Thing && p.ev.Shadow == key.Shadow && p.class.Kind() == store.KindHistory && p.ev.Time <= at {
				want = p
			}
		}
		if want != nil && base != nil && want.ev.Seq < base.ev.Seq {
			want = nil // older than what is left
		}
		got, ev, err := r.At(f.t.Context(), key, history.Point{Time: at})
		if want == nil || want.ev.Kind == twin.EventDeleted {
			if twin.Kind(err) != twin.KindNotFound {
				f.t.Fatalf("%s at %s: %v, want none", key, at.Std(), err)
			}
			continue
		}
		if err != nil || ev.Seq != want.ev.Seq || string(got.AppendBinary(nil)) != want.state {
			f.t.Fatalf("%s at %s, expired %v: seq %d, %v; want seq %d", key, at.Std(), f.cuts, ev.Seq, err, want.ev.Seq)
		}
	}
}

// expire gives random days of random classes up, in both stores.
func (f *fleet) expire() {
	f.t.Helper()
	p := make(store.Policy)
	for g := store.GroupDefault; g <= 2; g++ {
		for _, kind := range []store.Kind{store.KindHistory, store.KindLog} {
			if f.rng.IntN(3) != 0 {
				p[store.ClassOf(g, kind)] = agingStart.Day() + uint32(f.rng.IntN(int(f.now.Day()-agingStart.Day())+1))
			}
		}
	}
	for _, s := range f.stores {
		if _, err := s.Expire(f.t.Context(), p); err != nil {
			f.t.Fatal(err)
		}
	}
	cuts, feed, err := f.stores[0].Expired(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	f.cuts, f.feed = cuts, max(f.feed, feed)
	for _, s := range f.stores[1:] {
		// The positions of marks tell no reader anything, so the ends may differ by them.
		if got, _, err := s.Expired(f.t.Context()); err != nil || !cmp.Equal(got, cuts) {
			f.t.Fatalf("%v has expired, want %v (%v)", got, cuts, err)
		}
	}
}

// The past of things whose models change, and whose groups expire one by one: what is
// read is what a list of all events says, in both stores; the proofs agree; and it is
// the same after another start.
func TestExpire_groups(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	disk := vfs.NewCrashableMem()
	open := func() store.Store {
		s, err := pebblestore.Open("/data", pebblestore.Options{FS: disk, MemtableBytes: 64 << 10, CacheBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	f := &fleet{t: t, rng: rand.New(rand.NewPCG(seed, 9)), now: agingStart, stores: []store.Store{store.NewMemory(), open()}}
	f.clock.Store(int64(agingStart))
	f.open()
	for round := range 8 {
		f.live(f.now + twin.Time(f.rng.Int64N(3*oneDay)))
		if round > 0 {
			f.expire()
		}
		if f.rng.IntN(3) == 0 {
			for _, e := range f.engine {
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.stores[1].Close(); err != nil {
				t.Fatal(err)
			}
			f.stores[1] = open()
			f.open()
		}
		for _, s := range f.stores {
			f.compare(s)
			(&aging{t: t, store: s}).proven()
		}
		// What is left of the feed is its newest part, less what has expired.
		both := [2][]store.FeedEntry{(&aging{t: t, store: f.stores[0]}).feed(0), (&aging{t: t, store: f.stores[1]}).feed(0)}
		if !cmp.Equal(both[0], both[1]) {
			t.Fatalf("feeds have %d and %d entries, or differ", len(both[0]), len(both[1]))
		}
	}
	for i, e := range f.engine {
		_ = e.Close()
		_ = f.stores[i].Close()
	}
}

// The ages of a model reach what the engine writes, the group stays with the model when
// the configuration names it no more, and the report tells of it.
func TestServer_retentionOfModel(t *testing.T) {
	c := config(t)
	c.Retention.Models = map[string]*server.ModelRetention{"pump": {History: 24 * time.Hour, Events: 0}}
	write := func(r *running, thing, model string) {
		t.Helper()
		if status, body := r.call(t, "POST", "/api/v1/twins", fmt.Sprintf(`{"deviceId":%q,"model":%q}`, thing, model)); status/100 != 2 {
			t.Fatalf("create: %d %s", status, body)
		}
		if status, body := r.call(t, "PATCH", "/api/v1/twins/"+thing+"/reported", `{"t":1}`); status != 200 {
			t.Fatalf("report: %d %s", status, body)
		}
	}
	r := start(t, c)
	write(r, "p-1", "pump")
	write(r, "other", "valve")
	_, body := r.call(t, "GET", "/api/v1/storage", "")
	if want := `"models":[{"model":"pump","history":"1d","events":"forever"`; !strings.Contains(body, want) {
		t.Errorf("storage: %s, want %s", body, want)
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	c.Retention.Models = nil
	r = start(t, c)
	write(r, "p-2", "pump")
	_, body = r.call(t, "GET", "/api/v1/storage", "")
	if want := `"models":[{"model":"pump","history":"90d","events":"1y"`; !strings.Contains(body, want) {
		t.Errorf("storage after the configuration names it no more: %s, want %s", body, want)
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	s, err := pebblestore.Open(c.Data, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for thing, want := range map[twin.ThingName][]store.Group{"p-1": {1}, "p-2": {1}, "other": {store.GroupDefault}} {
		if got, err := s.Groups(t.Context(), thing); err != nil || !slices.Equal(got.All(), want) {
			t.Errorf("%s is in groups %v, want %v (%v)", thing, got.All(), want, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Groups keep their numbers, run out with a clear error, and a damaged record is no group.
func TestOpenGroups(t *testing.T) {
	s := store.NewMemory()
	var models []string
	for i := range int(store.GroupMax) {
		models = append(models, fmt.Sprint("m", i))
	}
	first, err := store.OpenGroups(t.Context(), s, models[:2])
	if err != nil {
		t.Fatal(err)
	}
	all, err := store.OpenGroups(t.Context(), s, models)
	if err != nil || len(all) != len(models) || all["m0"] != first["m0"] || all["m1"] != first["m1"] {
		t.Fatalf("%v, then %v, %v", first, all, err)
	}
	seen := make(map[store.Group]bool)
	for model, g := range all {
		if seen[g] || g == store.GroupDefault || g > store.GroupMax {
			t.Errorf("%s has group %d", model, g)
		}
		seen[g] = true
	}
	if _, err := store.OpenGroups(t.Context(), s, []string{"m3", "one-more"}); twin.Kind(err) != twin.KindInvalid || !strings.Contains(err.Error(), "retention.models.one-more") {
		t.Errorf("one more: %v", err)
	}
	bad := store.Mutation{Records: []twin.RecordWrite{{Kind: twin.RecordGroup, Key: "m0", Value: []byte{200}}}}
	if _, err := s.Commit(t.Context(), []store.Mutation{bad}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.OpenGroups(t.Context(), s, nil); err == nil || !strings.Contains(err.Error(), "m0") {
		t.Errorf("a damaged record: %v", err)
	}
}
