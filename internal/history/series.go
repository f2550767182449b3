package history

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/twofold-iot/twofold/twin"
)

// Sample is one point of a series: from Time on the attribute had the number.
type Sample struct {
	Time   twin.Time
	Number string // as it was sent; empty: from here on there is no number
	Seq    twin.Seq
}

// Series is a numeric attribute over a window.
type Series struct {
	// Samples begin with what was in force at the start of the window, if that was a
	// number. There is one for each time the number was sent (within one second: for
	// each time it changed), and one where it went.
	Samples []Sample
	// From <= time < Until is what the samples tell. Complete says whether that is all
	// that was asked for; if not, go on with Until as from.
	From, Until twin.Time
	Complete    bool
}

// Series returns a numeric attribute from one instant (inclusive) to another
// (exclusive). It ends early, at an instant and not within one, when it has limit samples
// or has read [ScanMax] events.
func (r *Reader) Series(ctx context.Context, key twin.ShadowKey, path string, from, to twin.Time, limit int) (Series, error) {
	if err := checkPath(path); err != nil {
		return Series{}, err
	}
	limit, err := checkPage(limit, from, to)
	if err != nil {
		return Series{}, err
	}
	if to == 0 {
		return Series{}, invalid("to: a series needs an end")
	}
	s := Series{From: from, Until: to, Complete: true}
	if from == to {
		return s, nil
	}
	line, err := r.line(ctx, key, from, to, func(n int) bool { return n > limit })
	if err != nil {
		return Series{}, err
	}
	s.Until, s.Complete = line.until, line.until == to
	var last Sample
	var lastStamp int64
	for i, m := range line.moments {
		value, stamp, _ := leaf(m.shadow, path)
		next := Sample{Time: m.time}
		if m.event != nil {
			next.Seq = m.event.Seq
		}
		if numeric(value) {
			next.Number = string(value)
		}
		if next.Number == last.Number && (stamp == lastStamp || next.Number == "") {
			continue
		}
		if len(s.Samples) >= limit && next.Time > last.Time {
			s.Until, s.Complete = next.Time, false
			break
		}
		if i > 0 || next.Number != "" {
			s.Samples = append(s.Samples, next)
		}
		last, lastStamp = next, stamp
	}
	return s, nil
}

// moment is a shadow as it became at an instant.
type moment struct {
	time   twin.Time
	event  *twin.Event  // nil if there was nothing yet
	shadow *twin.Shadow // may be nil or a tombstone
}

// line is the states of a shadow in the order in which they arose: the one in force at
// from, then all until an instant.
type line struct {
	moments []moment
	until   twin.Time
}

// line reads the states of a window. enough is asked with the number of states; once it
// says yes, or after [ScanMax] events, the line ends at the next instant that has any.
func (r *Reader) line(ctx context.Context, key twin.ShadowKey, from, to twin.Time, enough func(int) bool) (line, error) {
	l := line{until: to}
	start, ev, err := r.ofTime(ctx, key, from)
	if err != nil {
		return line{}, err
	}
	l.moments = append(l.moments, moment{from, ev, start})
	f := folder{reader: r, shadows: make(map[twin.ShadowKey]*following)}
	recorded := ev != nil && whole(ev)
	var seq twin.Seq
	after, scanned := from+1, 0
	add := func(ev *twin.Event) error {
		s, err := f.next(ctx, ev)
		if t := when(ev); err == nil && t > from && t < to {
			l.moments = append(l.moments, moment{t, ev, s})
		}
		return err
	}
	for more := true; more; {
		evs, err := r.oldest(ctx, key, after, to, seq, 512)
		if err != nil {
			return line{}, err
		}
		more = len(evs) == 512
		for i := range evs {
			ev := &evs[i]
			if ev.Time > after && (enough(len(l.moments)) || scanned >= ScanMax) {
				l.until, more = ev.Time, false
				break
			}
			recorded = recorded || whole(ev)
			if err := add(ev); err != nil {
				return line{}, err
			}
			after, seq = ev.Time, ev.Seq
			scanned++
		}
	}
	late, err := r.late(ctx, key, l.until-1, recorded)
	if err != nil {
		return line{}, err
	}
	for _, ev := range late {
		if err := add(ev); err != nil {
			return line{}, err
		}
	}
	l.sort()
	return l, nil
}

// sort puts moments into the order of their instants and takes out those after the end.
func (l *line) sort() {
	slices.SortStableFunc(l.moments[1:], func(a, b moment) int {
		switch {
		case newer(a.event, b.event):
			return 1
		case newer(b.event, a.event):
			return -1
		}
		return 0
	})
	l.moments = slices.DeleteFunc(l.moments, func(m moment) bool { return m.time >= l.until })
}

// Aggregate is what a series comes to over its window.
type Aggregate struct {
	// Mean is weighted by how long each number was in force. Min and Max are over all
	// that were. All are NaN if there was no number.
	Mean, Min, Max float64
	// Known is for how long there was a number.
	Known twin.Time
}

// Aggregate returns mean, least and greatest.
func (s *Series) Aggregate() (Aggregate, error) {
	var m mean
	for _, p := range s.Samples {
		if p.Number == "" {
			m.close(p.Time)
			continue
		}
		if err := m.set(p.Time, p.Number); err != nil {
			return Aggregate{}, err
		}
	}
	m.close(s.Until)
	return m.aggregate(), nil
}

// mean adds up a number over time.
type mean struct {
	open     bool // a number is in force
	since    twin.Time
	value    float64
	sum      float64 // value × milliseconds, of what is closed
	known    twin.Time
	min, max float64
	any      bool
}

func (m *mean) set(t twin.Time, number string) error {
	m.close(t)
	v, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return fmt.Errorf("read the number at %s: %w", stamp(t), err)
	}
	if !m.any {
		m.min, m.max = v, v
	}
	m.min, m.max = min(m.min, v), max(m.max, v)
	m.open, m.since, m.value, m.any = true, t, v, true
	return nil
}

func (m *mean) close(t twin.Time) {
	if m.open && t > m.since {
		m.sum += m.value * float64(t-m.since)
		m.known += t - m.since
	}
	m.open = false
}

func (m *mean) aggregate() Aggregate {
	a := Aggregate{Mean: math.NaN(), Min: math.NaN(), Max: math.NaN(), Known: m.known}
	if m.any {
		a.Min, a.Max = m.min, m.max
	}
	if m.known > 0 {
		a.Mean = m.sum / float64(m.known)
	}
	return a
}
