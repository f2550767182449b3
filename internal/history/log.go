package history

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// ScanMax is the most events that one call looks at when few of them match. The page
// ends there and its cursor goes on.
const ScanMax = 20_000

// Filter selects events of a thing's log; each empty field lets all pass, and an event
// must pass every field.
type Filter struct {
	Kinds       []twin.EventKind
	SeverityMin twin.Severity
	From, To    twin.Time // from <= time < to; zero: no bound
	// Text is looked for in type, message, correlation, shadow name, patch and data,
	// without regard to the case of ASCII letters.
	Text        string
	Correlation string // the whole of it
	Type        string // the whole of it
}

// TextBytesMax is the longest text that can be looked for.
const TextBytesMax = 256

// ParseKinds returns the kinds with these names.
func ParseKinds(names []string) ([]twin.EventKind, error) {
	kinds := make([]twin.EventKind, 0, len(names))
	for _, name := range names {
		k, ok := twin.ParseEventKind(name)
		if !ok {
			return nil, invalid("%.80q is no kind of event; there are %s", name, strings.Join(twin.EventKindNames(), ", "))
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

func (f *Filter) check() error {
	for _, k := range f.Kinds {
		if _, ok := twin.ParseEventKind(k.String()); !ok {
			return invalid("%d is no kind of event", k)
		}
	}
	if f.SeverityMin > twin.SeverityCritical {
		return invalid("%d is no severity", f.SeverityMin)
	}
	if len(f.Text) > TextBytesMax {
		return invalid("text: %d bytes are over the limit of %d", len(f.Text), TextBytesMax)
	}
	return nil
}

// kinds returns the kinds of events, by how they are kept, that can match.
func (f *Filter) kinds() []store.Kind {
	ofShadow := func(k twin.EventKind) bool { return k.OfShadow() }
	switch {
	case len(f.Kinds) == 0:
		return nil
	case !slices.ContainsFunc(f.Kinds, ofShadow):
		return []store.Kind{store.KindLog}
	case !slices.ContainsFunc(f.Kinds, func(k twin.EventKind) bool { return !ofShadow(k) }):
		return []store.Kind{store.KindHistory}
	}
	return nil
}

// match reports whether an event passes; text is f.Text in lower case.
func (f *Filter) match(ev *twin.Event, text []byte) bool {
	switch {
	case len(f.Kinds) > 0 && !slices.Contains(f.Kinds, ev.Kind):
	case ev.Severity < f.SeverityMin:
	case f.Correlation != "" && ev.Correlation != f.Correlation:
	case f.Type != "" && ev.Type != f.Type:
	case len(text) > 0 && !contains(ev, text):
	default:
		return true
	}
	return false
}

func contains(ev *twin.Event, text []byte) bool {
	for _, s := range [...]string{ev.Type, ev.Message, ev.Correlation, string(ev.Shadow), string(ev.Patch), string(ev.Data)} {
		if len(s) >= len(text) && bytes.Contains(lower(s), text) {
			return true
		}
	}
	return false
}

// lower turns ASCII letters to lower case and leaves all other bytes, so that nothing
// changes its length.
func lower(s string) []byte {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

// LogQuery selects a page of a thing's log.
type LogQuery struct {
	Thing  twin.ThingName
	Filter Filter
	Newest bool
	Limit  int // 0: PageDefault; at most PageMax
	Cursor Cursor
}

// LogPage is a part of the log in the order of seq. Next is empty on the last page. A
// page may hold few events or none and yet have a Next: where nothing matched for
// [ScanMax] events.
type LogPage struct {
	Events []twin.Event
	Next   Cursor
}

// Log returns events of all kinds of one thing.
func (r *Reader) Log(ctx context.Context, q LogQuery) (LogPage, error) {
	f := &q.Filter
	limit, err := checkPage(q.Limit, f.From, f.To)
	if err != nil {
		return LogPage{}, err
	}
	if err := f.check(); err != nil {
		return LogPage{}, err
	}
	question := fmt.Appendf(nil, "log %q %v %d %d %d %q %q %q %t", q.Thing, f.Kinds, f.SeverityMin, f.From, f.To,
		f.Text, f.Correlation, f.Type, q.Newest)
	at, err := q.Cursor.parse(question)
	if err != nil {
		return LogPage{}, err
	}
	if f.To != 0 && f.From == f.To {
		return LogPage{}, nil
	}
	tr := store.ThingRange{Thing: q.Thing, Kinds: f.kinds(), From: f.From, To: f.To, Newest: q.Newest}
	if at != nil {
		tr.After = at.seq
	}
	return r.scanLog(ctx, tr, f, limit, question)
}

func (r *Reader) scanLog(ctx context.Context, tr store.ThingRange, f *Filter, limit int, question []byte) (LogPage, error) {
	var p LogPage
	text := lower(f.Text)
	size := 0
	for scanned := 0; ; {
		tr.Limit = min(max(limit-len(p.Events)+1, chunkLen), 1024)
		evs, err := r.thingEvents(ctx, tr)
		if err != nil {
			return LogPage{}, err
		}
		for i := range evs {
			full := len(p.Events) == limit || size > PageBytesMax || scanned == ScanMax
			if full {
				p.Next = place{seq: tr.After}.cursor(question)
				return p, nil
			}
			tr.After = evs[i].Seq
			scanned++
			if f.match(&evs[i], text) {
				p.Events = append(p.Events, evs[i])
				size += len(evs[i].Patch) + len(evs[i].Data) + len(evs[i].Snapshot) + len(evs[i].Message)
			}
		}
		if len(evs) < tr.Limit {
			return p, nil
		}
	}
}
