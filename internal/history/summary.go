package history

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// SummaryEventsMax is the most events of a window that averages are made of; of more
// the newest count.
const SummaryEventsMax = 10_000

// SummaryStatesMax is the most states of a summary, and how many there are when no limit
// is set.
const SummaryStatesMax = 1000

// Window says what a summary is of.
type Window struct {
	Now      twin.Time // what "until now" means
	From, To twin.Time // of states and averages; zero: the 24 hours before Now
	Limit    int       // of states; 0: SummaryStatesMax, which is the maximum too
}

// Average is the time-weighted mean of a numeric top-level attribute.
type Average struct {
	Name string // of the attribute, as in the document
	Aggregate
}

// Title returns the name as the twin shows it: avgTemperature for temperature.
func (a *Average) Title() string {
	first, size := utf8.DecodeRuneInString(a.Name)
	return "avg" + string(unicode.ToUpper(first)) + a.Name[size:]
}

// Summary is what a twin's past says of it now. States and averages are of the classic
// shadow, or the named one that was asked for.
type Summary struct {
	States []State // newest first
	Next   Cursor  // for [Reader.States] with From, To and Newest of this summary
	// From and To are the window; AveragesFrom is later than From when there were more
	// than SummaryEventsMax events.
	From, To, AveragesFrom twin.Time
	Averages               []Average // in order of name; those that had a number
	Contact
}

// Summary reads in one pass what the view of a twin needs from the past.
func (r *Reader) Summary(ctx context.Context, key twin.ShadowKey, w Window) (Summary, error) {
	if w.Now <= 0 {
		return Summary{}, invalid("a summary needs the time of now")
	}
	if w.To == 0 {
		w.To = w.Now + 1 // what happened in this millisecond has happened
	}
	if w.From == 0 {
		w.From = max(w.To-day, 0)
	}
	limit, err := checkPage(w.Limit, w.From, w.To)
	if err != nil {
		return Summary{}, err
	}
	if w.Limit == 0 {
		limit = SummaryStatesMax
	}
	if limit > SummaryStatesMax {
		return Summary{}, invalid("limit: %d is over the maximum of %d", limit, SummaryStatesMax)
	}
	s := Summary{From: w.From, To: w.To, AveragesFrom: w.From}
	if w.From < w.To {
		if err := r.window(ctx, key, limit, &s); err != nil {
			return Summary{}, err
		}
	}
	s.Contact, err = r.Contact(ctx, key.Thing, w.Now)
	return s, err
}

// window fills in states and averages.
func (r *Reader) window(ctx context.Context, key twin.ShadowKey, limit int, s *Summary) error {
	l, states, cut, err := r.held(ctx, key, s.From, s.To, SummaryEventsMax)
	if err != nil {
		return err
	}
	if cut {
		s.AveragesFrom = l.moments[0].time
	}
	if s.Averages, err = averages(l.moments, s.AveragesFrom, s.To); err != nil {
		return err
	}
	n := fitting(states[:min(len(states), limit)])
	s.States = states[:n]
	if n < len(states) || cut {
		q := Query{Key: key, From: s.From, To: s.To, Newest: true}
		last := &states[n-1].Event
		s.Next = place{time: last.Time, seq: last.Seq}.cursor(q.question())
	}
	return nil
}

// averages are over moments in order; an attribute counts while it is a number.
func averages(moments []moment, from, to twin.Time) ([]Average, error) {
	type attribute struct {
		mean
		text string
		seen int
	}
	all := make(map[string]*attribute)
	for i, m := range moments {
		t := max(m.time, from)
		var err error
		if m.shadow.Exists() {
			m.shadow.Reported.Leaves(func(path string, value []byte, _ int64) {
				if !numeric(value) || !topLevel(path) {
					return
				}
				a := all[path]
				if a == nil {
					a = &attribute{}
					all[path] = a
				}
				a.seen = i
				if !a.open || a.text != string(value) {
					a.text = string(value)
					err = cmp.Or(err, a.set(t, a.text))
				}
			})
		}
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			if a.open && a.seen != i {
				a.close(t)
			}
		}
	}
	out := make([]Average, 0, len(all))
	for path, a := range all {
		a.close(to)
		if a.known > 0 {
			out = append(out, Average{attributeName(path), a.aggregate()})
		}
	}
	slices.SortFunc(out, func(a, b Average) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// topLevel reports whether a leaf's path is one name; names with a dot in them are
// quoted.
func topLevel(path string) bool {
	if path == "" || path[0] != '"' {
		return !strings.Contains(path, ".")
	}
	return json.Valid([]byte(path))
}

func attributeName(path string) string {
	var name string
	if path[0] == '"' && json.Unmarshal([]byte(path), &name) == nil {
		return name
	}
	return path
}

// Contact says when a thing was heard of. What the log no longer holds is zero.
type Contact struct {
	// Known says whether any client that stands for the thing ever connected, as far as
	// the log goes; Connected, whether one is. A crash of the server leaves no disconnect:
	// the doors know better who is here at this moment.
	Known, Connected bool
	// Since is when the connection began that has lasted longest; zero if there is none.
	Since twin.Time
	// UptimeHours is the time since then; or since the first contact, for a thing that
	// never connects.
	UptimeHours float64
	// LastSeen is when the thing itself last did anything: connected, disconnected,
	// reported, or was rejected.
	LastSeen twin.Time
	// FirstContact is the time of the oldest event that is kept.
	FirstContact twin.Time
}

// contactEventsMax is how far back the log is read for connections.
const contactEventsMax = 1024

// Contact reads connections and signs of life from the log of a thing.
func (r *Reader) Contact(ctx context.Context, thing twin.ThingName, now twin.Time) (Contact, error) {
	var c Contact
	var err error
	if c.FirstContact, err = r.firstContact(ctx, thing); err != nil || c.FirstContact == 0 {
		return c, err
	}
	if err := r.connections(ctx, thing, &c); err != nil {
		return Contact{}, err
	}
	if c.LastSeen, err = r.lastSeen(ctx, thing, c.LastSeen); err != nil {
		return Contact{}, err
	}
	since := c.Since
	if !c.Known {
		since = c.FirstContact
	}
	if since != 0 && now > since {
		c.UptimeHours = float64(now-since) / float64(day/24)
	}
	return c, nil
}

func (r *Reader) firstContact(ctx context.Context, thing twin.ThingName) (twin.Time, error) {
	evs, err := r.thingEvents(ctx, store.ThingRange{Thing: thing, Limit: 1})
	if err != nil || len(evs) == 0 {
		return 0, err
	}
	return evs[0].Time, nil
}

// connections looks for the newest event of each client that stands for the thing.
func (r *Reader) connections(ctx context.Context, thing twin.ThingName, c *Contact) error {
	sessions := make(map[string]bool)
	tr := store.ThingRange{Thing: thing, Kinds: []store.Kind{store.KindLog}, Newest: true, Limit: chunkLen}
	for scanned := 0; scanned < contactEventsMax || !c.Known && scanned < ScanMax; {
		evs, err := r.thingEvents(ctx, tr)
		if err != nil {
			return err
		}
		for i := range evs {
			ev := &evs[i]
			tr.After = ev.Seq
			if ev.Kind != twin.EventManaged {
				c.LastSeen = max(c.LastSeen, ev.Time)
			}
			connected := ev.Kind == twin.EventConnected
			if !connected && ev.Kind != twin.EventDisconnected || sessions[ev.Origin.Session] {
				continue
			}
			c.Known = true
			sessions[ev.Origin.Session] = true
			if connected {
				c.Connected, c.Since = true, ev.Time // older and older ones
			}
		}
		if len(evs) < tr.Limit {
			return nil
		}
		scanned += len(evs)
		tr.Limit = min(4*tr.Limit, 1024)
	}
	return nil
}

// lastSeen returns when the thing last reported, if that is after another time.
func (r *Reader) lastSeen(ctx context.Context, thing twin.ThingName, after twin.Time) (twin.Time, error) {
	tr := store.ThingRange{Thing: thing, Kinds: []store.Kind{store.KindHistory}, From: after, Newest: true, Limit: 8}
	for scanned := 0; scanned < contactEventsMax; {
		evs, err := r.thingEvents(ctx, tr)
		if err != nil {
			return 0, err
		}
		for i := range evs {
			ev := &evs[i]
			tr.After = ev.Seq
			if ev.Kind == twin.EventRecorded || ev.Kind == twin.EventUpdated && twin.PatchTouches(ev.Patch, "reported") {
				return max(when(ev), after), nil
			}
		}
		if len(evs) < tr.Limit {
			break
		}
		scanned += len(evs)
		tr.Limit = min(4*tr.Limit, 256)
	}
	return after, nil
}
