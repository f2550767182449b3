package profile

import (
	"time"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/twin"
)

// HoursOfWeek is how many hours a profile has; hour 0 begins on Monday at midnight (ISO 8601).
const HoursOfWeek = 7 * 24

// Week is what a number is like at each hour of the week.
type Week struct {
	Of      string // such as telemetry.flow or reported.temperature
	Unit    string
	Samples int64
	Hours   [HoursOfWeek]Hour
}

// Hour is what the numbers of one hour of the week come to, over all weeks of the window.
// Quantiles are within one percent.
type Hour struct {
	Weeks int // in which there was a number
	series.Rollup
}

// hourOf returns the hour of the week of a time in a zone.
func hourOf(t twin.Time, zone *time.Location) int {
	at := t.Std().In(zone)
	day := (int(at.Weekday()) + 6) % 7 // Monday is the first
	return 24*day + at.Hour()
}

// localHour counts the hours of a zone since 1970.
func localHour(t twin.Time, zone *time.Location) int64 {
	_, offset := t.Std().In(zone).Zone()
	return (t.Std().Unix() + int64(offset)) / 3600
}

// windowOf is the length of windows that are within one hour of a zone at all times.
func windowOf(zone *time.Location, from, to twin.Time) twin.Time {
	const hour, quarter = twin.Time(3_600_000), twin.Time(900_000)
	for _, t := range []twin.Time{from, (from + to) / 2, to} {
		if _, offset := t.Std().In(zone).Zone(); offset%3600 != 0 {
			return quarter
		}
	}
	return hour
}

// weeks gathers windows into a week.
type weeks struct {
	week Week
	zone *time.Location
	last [HoursOfWeek]int64 // the hour that was counted last
}

// add adds a window, which is later than those before it.
func (w *weeks) add(r *series.Rollup) {
	if r.Count == 0 {
		return
	}
	i := hourOf(r.Start, w.zone)
	h := &w.week.Hours[i]
	if number := localHour(r.Start, w.zone); h.Weeks == 0 || number != w.last[i] {
		h.Weeks++
		w.last[i] = number
	}
	h.Merge(r)
	w.week.Samples += r.Count
}
