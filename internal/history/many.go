package history

import (
	"context"
	"fmt"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// daily is what a store answers that reads a day of many things in one pass.
type daily interface {
	DayEvents(ctx context.Context, day uint32, things []twin.ThingName, limit int) ([][][]byte, error)
}

// dayEventsMax is how many events of a thing on a day are read in one pass: of more it is
// faster to look for the instant.
const dayEventsMax = 64

// AtMany is [Reader.At] for the classic shadows of many things, in order of name, that have these
// heads: the state of each at an instant, nil for one that was not there, a tombstone for one
// that was deleted. It reads the day of the instant in one pass, and on its own a thing that had no
// event on that day before the instant, or many, or that lives in the cloud. single says that
// there is one retention group.
//
// The result has one entry for each thing; an entry with an error has no state.
func (r *Reader) AtMany(ctx context.Context, things []twin.ThingName, heads []twin.Head, t twin.Time, single bool) ([]Found, error) {
	found := make([]Found, len(things))
	var days [][][]byte
	mirrors, err := r.anyMirror(ctx)
	if err != nil {
		return nil, err
	}
	if d, can := r.store.(daily); can && single && !mirrors {
		if days, err = d.DayEvents(ctx, t.Day(), things, dayEventsMax); err != nil {
			return nil, wrap(err, "read the events of a day")
		}
	}
	var rules twin.Folder
	for i, thing := range things {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if days != nil {
			s, ok, err := foldDay(&rules, days[i], heads[i].Seq, t)
			if err == nil && ok {
				found[i].Shadow = s
				continue
			}
		}
		// What is wrong there is told here.
		found[i].Shadow, _, found[i].Err = r.state(ctx, twin.ShadowKey{Thing: thing}, Point{Time: t})
	}
	return found, nil
}

// Found is the state of one of many things.
type Found struct {
	Shadow *twin.Shadow
	Err    error
}

// anyMirror reports whether any shadow lives in the cloud.
func (r *Reader) anyMirror(ctx context.Context) (bool, error) {
	x, can := r.store.(index)
	if !can {
		return false, nil
	}
	list, err := x.ListRecords(ctx, store.RecordRange{Kind: twin.RecordMirror, Limit: 1})
	return len(list) > 0, wrap(err, "read what is mirrored")
}

// foldDay folds the events of a shadow on a day up to an instant, from the newest snapshot among
// them; not ok: they do not tell. The first event of a day has a snapshot.
func foldDay(rules *twin.Folder, raw [][]byte, newest twin.Seq, t twin.Time) (s *twin.Shadow, ok bool, err error) {
	var evs [dayEventsMax]twin.Event
	n, begin := 0, -1
	for _, b := range raw {
		ev := &evs[n]
		if *ev, err = twin.DecodeEvent(b); err != nil {
			return nil, false, fmt.Errorf("read an event: %w", err)
		}
		if ev.Time > t || ev.Seq > newest {
			break
		}
		if whole(ev) {
			return nil, false, nil
		}
		if len(ev.Snapshot) > 0 {
			begin = n
		}
		n++
	}
	if begin < 0 || n == dayEventsMax {
		return nil, false, nil
	}
	if s, err = snapshot(&evs[begin]); err != nil {
		return nil, false, err
	}
	for i := begin + 1; i < n; i++ {
		if s, err = rules.Fold(s, &evs[i]); err != nil {
			return nil, false, err
		}
	}
	return s, true, nil
}
