package server_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// aging is a store with an engine on a clock that the test moves.
type aging struct {
	t     *testing.T
	rng   *rand.Rand
	store store.Store
	e     *engine.Engine
	clock atomic.Int64
}

const oneDay = 24 * 3600 * 1000

var agingStart = twin.TimeOf(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))

func (a *aging) open(s store.Store) {
	a.t.Helper()
	var err error
	a.store = s
	a.e, err = engine.Open(slog.New(slog.NewTextHandler(io.Discard, nil)), s, engine.Options{Now: func() time.Time { return time.UnixMilli(a.clock.Load()) }})
	if err != nil {
		a.t.Fatal(err)
	}
}

var agingKeys = []twin.ShadowKey{{Thing: "a"}, {Thing: "a", Shadow: "config"}, {Thing: "ab"}, {Thing: "b"}, {Thing: "seldom"}}

// live lets things live until an instant: updates, deletes, rejected ones, reports.
func (a *aging) live(until twin.Time) {
	a.t.Helper()
	for twin.Time(a.clock.Load()) < until {
		a.clock.Add(a.rng.Int64N(20 * 60 * 1000))
		key := agingKeys[a.rng.IntN(len(agingKeys)-1)]
		if a.rng.IntN(100) == 0 {
			key = agingKeys[len(agingKeys)-1]
		}
		done := make(chan struct{})
		var err error
		switch a.rng.IntN(12) {
		case 0:
			ev := twin.Event{Thing: key.Thing, Kind: twin.EventReported, Type: "error", Message: "hot"}
			err = a.e.Append(twin.Entry{Event: ev}, func(twin.EntryResult) { close(done) })
		default:
			body := fmt.Sprintf(`{"state":{"reported":{"t":%d,"k%d":1},"desired":{"s":%d}}}`, a.rng.IntN(100), a.rng.IntN(5), a.rng.IntN(9))
			req, perr := twin.ParseRequest([]byte(body), twin.Limits{})
			if perr != nil {
				a.t.Fatal(perr)
			}
			u := twin.Update{Key: key, Request: req, Origin: twin.Origin{Door: twin.DoorREST}}
			if a.rng.IntN(30) == 0 {
				u.Request, u.Delete = &twin.Request{}, true
			}
			err = a.e.Submit(u, func(twin.Result) { close(done) })
		}
		if err != nil {
			a.t.Fatal(err)
		}
		<-done
	}
}

// states returns what each shadow was at many instants, from one on.
func (a *aging) states(from, to twin.Time) map[string]string {
	a.t.Helper()
	r := history.New(a.store, nil)
	out := map[string]string{}
	for _, key := range agingKeys {
		for t := from; t < to; t += 97 * 60 * 1000 {
			at := fmt.Sprint(key, " ", t.Std())
			s, ev, err := r.At(a.t.Context(), key, history.Point{Time: t})
			switch {
			case twin.Kind(err) == twin.KindNotFound:
				out[at] = "none" // the text tells of the oldest state, which moves
			case err != nil:
				a.t.Fatalf("%s: %v", at, err)
			default:
				out[at] = fmt.Sprint(ev.Seq, " ", string(s.AppendBinary(nil)))
			}
		}
	}
	return out
}

func (a *aging) feed(after store.Pos) []store.FeedEntry {
	a.t.Helper()
	entries, err := a.store.Feed(a.t.Context(), after, 1<<20)
	if err != nil {
		a.t.Fatal(err)
	}
	return entries
}

func (a *aging) proven() {
	a.t.Helper()
	cuts, _, err := a.store.Expired(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	for name, check := range map[string]func(context.Context, proof.Options) (proof.Report, error){
		"verify": func(ctx context.Context, o proof.Options) (proof.Report, error) { return proof.Verify(ctx, a.store, o) },
		"rebuild": func(ctx context.Context, o proof.Options) (proof.Report, error) {
			return proof.Rebuild(ctx, a.store, o)
		},
	} {
		r, err := check(a.t.Context(), proof.Options{Expired: cuts})
		if err != nil || !r.OK() {
			a.t.Fatalf("%s: %v %v", name, err, r.Findings)
		}
	}
}

// What is younger than the cut reads as before: states at any instant, the feed, the
// proofs; also after another start, more life and a second expiry. A shadow that
// hardly changes keeps the state it had.
func TestExpire(t *testing.T) {
	disk := vfs.NewCrashableMem()
	openPebble := func(fs vfs.FS) store.Store {
		s, err := pebblestore.Open("/data", pebblestore.Options{FS: fs, MemtableBytes: 64 << 10, CacheBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, s := range map[string]store.Store{"memory": store.NewMemory(), "pebble": openPebble(disk)} {
		t.Run(name, func(t *testing.T) {
			a := &aging{t: t, rng: rand.New(rand.NewPCG(3, 3))}
			a.clock.Store(int64(agingStart))
			a.open(s)
			const days = 8
			a.live(agingStart + days*oneDay)
			first := agingStart.Day()
			end := twin.Time(a.clock.Load())
			for _, policy := range []store.Policy{
				{store.ClassHistory: first + 3, store.ClassLog: first + 1},
				{store.ClassHistory: first + 2}, // it keeps what is gone already
				{store.ClassHistory: first + 4, store.ClassLog: first + 6},
				{store.ClassHistory: first + 1000, store.ClassLog: first + 1000}, // all but the newest day
			} {
				cut := agingStart + twin.Time(min(policy[store.ClassHistory]-first, days))*oneDay
				before, feed := a.states(cut, end), a.feed(0)
				if _, err := s.Expire(t.Context(), policy); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(before, a.states(cut, end)); diff != "" {
					t.Fatalf("%v: states (-before +after):\n%.2000s", policy, diff)
				}
				a.checkFeed(feed)
				a.proven()
			}
			cuts, _, _ := s.Expired(t.Context())
			if cuts[store.ClassHistory] >= first+1000 {
				t.Fatal("the newest day has expired")
			}
			if got := a.states(agingStart, agingStart+oneDay); len(got) == 0 {
				t.Fatal("nothing was asked")
			} else {
				for at, state := range got {
					if state != "none" {
						t.Fatalf("%s: %s, but it has expired", at, state)
					}
				}
			}
			a.live(twin.Time(a.clock.Load()) + oneDay)
			before, feed := a.states(end, twin.Time(a.clock.Load())), a.feed(0)
			if err := a.e.Close(); err != nil {
				t.Fatal(err)
			}
			if name == "pebble" {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				a.open(openPebble(disk))
			}
			if diff := cmp.Diff(before, a.states(end, twin.Time(a.clock.Load()))); diff != "" {
				t.Fatalf("after a start: states (-before +after):\n%.2000s", diff)
			}
			if got := a.feed(0); !cmp.Equal(got, feed) {
				t.Fatal("after a start the feed is another one")
			}
			again, _, err := a.store.Expired(t.Context())
			if err != nil || !cmp.Equal(again, cuts) {
				t.Fatalf("after a start %v has expired, %v before (%v)", again, cuts, err)
			}
			a.proven()
			if name == "pebble" {
				_ = a.e.Close()
			}
			_ = a.store.Close()
		})
	}
}

// checkFeed wants the kept part of a feed as it was.
func (a *aging) checkFeed(before []store.FeedEntry) {
	a.t.Helper()
	_, oldest, err := a.store.Expired(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	kept := slices.DeleteFunc(slices.Clone(before), func(e store.FeedEntry) bool { return e.Pos <= oldest })
	if got := a.feed(oldest); !cmp.Equal(got, kept) {
		a.t.Fatalf("the feed after %d has %d entries, want %d", oldest, len(got), len(kept))
	}
	if len(kept) == 0 {
		a.t.Fatal("nothing is left of the feed")
	}
}
