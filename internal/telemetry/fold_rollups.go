package telemetry

import (
	"cmp"
	"context"
	"slices"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// level is one length of rollups: how long they are, and how much time a column of them
// has. Columns of days begin at the last day of their time, so that they expire with it.
type level struct {
	number store.SampleLevel
	length twin.Time
	column twin.Time
}

// daysColumn is how much time a column of the rollups of days has.
const daysColumn = 32 * day

var levels = [...]level{
	{store.LevelMinutes, minute, hour},
	{store.LevelHours, hour, day},
	{store.LevelDays, day, daysColumn},
}

// start is the start in the store of the column that has a time.
func (l *level) start(t twin.Time) twin.Time {
	if l.number == store.LevelDays {
		return series.StartOf(t, l.column) + l.column - day
	}
	return series.StartOf(t, l.column)
}

// rollupFold writes the rollups of a series anew where its samples have changed.
type rollupFold struct {
	store   store.SampleReader
	thing   twin.ThingName
	of      store.Series
	columns []store.Column // to be written
	// days are the columns of days under way, by their start: one fold may change
	// several days of one.
	days map[twin.Time][]series.Rollup
}

// read returns the rollups of the column that has a time.
func (f *rollupFold) read(ctx context.Context, l *level, t twin.Time) ([]series.Rollup, error) {
	start := l.start(t)
	if l.number == store.LevelDays && f.days[start] != nil {
		return f.days[start], nil
	}
	cols, err := columns(ctx, f.store, f.thing, f.of, l.number, start, start+1)
	if err != nil || len(cols) == 0 {
		return nil, err
	}
	list, err := series.ReadRollups(nil, cols[0].Data)
	if err != nil {
		return nil, damaged(&cols[0], err)
	}
	return list, nil
}

func (f *rollupFold) write(l *level, t twin.Time, list []series.Rollup) {
	if l.number == store.LevelDays {
		f.days[l.start(t)] = list
		return
	}
	f.put(l, l.start(t), list)
}

func (f *rollupFold) put(l *level, start twin.Time, list []series.Rollup) {
	f.columns = append(f.columns, store.Column{
		Class: store.ClassRollups, Level: l.number, Series: f.of, Start: start, Data: series.AppendRollups(nil, list),
	})
}

// done returns the columns to be written.
func (f *rollupFold) done() []store.Column {
	for start, list := range f.days {
		f.put(&levels[2], start, list)
	}
	return f.columns
}

// day takes the samples of one day from the minute of the first fresh one on, and all
// fresh ones.
func (f *rollupFold) day(ctx context.Context, samples, fresh []series.Point) error {
	from := series.StartOf(fresh[0].Time, minute)
	minutes := series.RollUp(samples[numbers.search(samples, from):], minute)
	return f.levels(ctx, fresh, func(start twin.Time, old []series.Rollup) []series.Rollup {
		now := minutes[searchRollups(minutes, start):searchRollups(minutes, start+hour)]
		return append(old[:searchRollups(old, from)], now...)
	})
}

// include takes fresh samples of a day whose samples are no longer there.
func (f *rollupFold) include(ctx context.Context, fresh []series.Point) error {
	return f.levels(ctx, fresh, func(start twin.Time, old []series.Rollup) []series.Rollup {
		for _, p := range fresh[numbers.search(fresh, start):numbers.search(fresh, start+hour)] {
			at := series.StartOf(p.Time, minute)
			i := searchRollups(old, at)
			if i == len(old) || old[i].Start != at {
				old = slices.Insert(old, i, series.Rollup{Start: at})
			}
			old[i].Include(p)
		}
		return old
	})
}

// levels writes the minutes of each hour with fresh samples, and what follows from them
// for the hours and the day.
func (f *rollupFold) levels(ctx context.Context, fresh []series.Point, change func(hour twin.Time, old []series.Rollup) []series.Rollup) error {
	byMinute, byHour, byDay := &levels[0], &levels[1], &levels[2]
	hours, err := f.read(ctx, byHour, fresh[0].Time)
	if err != nil {
		return err
	}
	for i := 0; i < len(fresh); {
		start := series.StartOf(fresh[i].Time, hour)
		old, err := f.read(ctx, byMinute, start)
		if err != nil {
			return err
		}
		minutes := change(start, old)
		f.write(byMinute, start, minutes)
		hours = replaceRollup(hours, series.Coarser(minutes, hour))
		i = numbers.search(fresh, start+hour)
	}
	f.write(byHour, fresh[0].Time, hours)
	days, err := f.read(ctx, byDay, fresh[0].Time)
	if err != nil {
		return err
	}
	f.write(byDay, fresh[0].Time, replaceRollup(days, series.Coarser(hours, day)))
	return nil
}

// replaceRollup puts one rollup into a list.
func replaceRollup(list, one []series.Rollup) []series.Rollup {
	i := searchRollups(list, one[0].Start)
	if i < len(list) && list[i].Start == one[0].Start {
		list[i] = one[0]
		return list
	}
	return slices.Insert(list, i, one[0])
}

// searchRollups returns the place of the first rollup that starts at or after a time.
func searchRollups(list []series.Rollup, t twin.Time) int {
	i, _ := slices.BinarySearchFunc(list, t, func(r series.Rollup, t twin.Time) int { return cmp.Compare(r.Start, t) })
	return i
}
