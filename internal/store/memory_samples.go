package store

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// memorySamples is the telemetry of a [Memory].
type memorySamples struct {
	number  RowNumber
	rows    map[twin.ThingName][]SampleRow
	columns map[memoryColumn][]byte
	infos   map[memorySeries][]byte
}

type memorySeries struct {
	thing twin.ThingName
	Series
}

type memoryColumn struct {
	memorySeries
	class SampleClass
	level SampleLevel
	start twin.Time
}

func (m *memorySamples) init() {
	if m.rows == nil {
		m.rows = make(map[twin.ThingName][]SampleRow)
		m.columns = make(map[memoryColumn][]byte)
		m.infos = make(map[memorySeries][]byte)
	}
}

// AppendRows implements [SampleWriter].
func (m *Memory) AppendRows(ctx context.Context, rows []SampleRow, _ bool) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	s := &m.samples
	s.init()
	turn := make(map[twin.ThingName]int)
	for i := range rows {
		if _, known := turn[rows[i].Thing]; !known {
			turn[rows[i].Thing] = i
		}
	}
	rows = slices.SortedStableFunc(slices.Values(rows), func(a, b SampleRow) int { return cmp.Compare(turn[a.Thing], turn[b.Thing]) })
	for _, r := range rows {
		s.number++
		r.Number, r.Values = s.number, bytes.Clone(r.Values)
		s.rows[r.Thing] = append(s.rows[r.Thing], r)
	}
	return nil
}

// Fold implements [SampleWriter].
func (m *Memory) Fold(ctx context.Context, f SampleFold) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	s := &m.samples
	s.init()
	s.rows[f.Thing] = slices.DeleteFunc(s.rows[f.Thing], func(r SampleRow) bool { return r.Number <= f.Through })
	if len(s.rows[f.Thing]) == 0 {
		delete(s.rows, f.Thing)
	}
	for _, c := range f.Columns {
		key := memoryColumn{memorySeries{f.Thing, c.Series}, c.Class, c.Level, c.Start}
		if c.Data == nil {
			delete(s.columns, key)
			continue
		}
		s.columns[key] = bytes.Clone(c.Data)
	}
	for _, info := range f.Infos {
		s.infos[memorySeries{f.Thing, info.Series}] = bytes.Clone(info.Data)
	}
	return nil
}

// DropColumns implements [SampleWriter].
func (m *Memory) DropColumns(ctx context.Context, class SampleClass, before uint32) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for key := range m.samples.columns {
		if key.class == class && key.start.Day() < before {
			delete(m.samples.columns, key)
		}
	}
	return nil
}

// TrimColumns implements [SampleWriter].
func (m *Memory) TrimColumns(ctx context.Context, class SampleClass, day uint32, drop func(twin.ThingName, Series) bool) (int, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	gone := make(map[memorySeries]bool)
	for key := range m.samples.columns {
		if key.class == class && key.start.Day() == day && drop(key.thing, key.Series) {
			delete(m.samples.columns, key)
			gone[key.memorySeries] = true
		}
	}
	return len(gone), nil
}

// ColumnDays implements [SampleReader].
func (m *Memory) ColumnDays(ctx context.Context, class SampleClass) ([]DayStats, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	sizes := make(map[uint32]uint64)
	for key, data := range m.samples.columns {
		if key.class == class {
			sizes[key.start.Day()] += uint64(len(data))
		}
	}
	var days []DayStats
	for _, day := range slices.Sorted(maps.Keys(sizes)) {
		days = append(days, DayStats{day, sizes[day]})
	}
	return days, nil
}

// Rows implements [SampleReader].
func (m *Memory) Rows(ctx context.Context, thing twin.ThingName, after RowNumber, limit int) (rows []SampleRow, err error) {
	if err := CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for _, r := range m.samples.rows[thing] {
		if r.Number > after && len(rows) < limit {
			r.Values = bytes.Clone(r.Values)
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// RowThings implements [SampleReader].
func (m *Memory) RowThings(ctx context.Context, after twin.ThingName, limit int) (things []twin.ThingName, err error) {
	if err := CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for thing := range m.samples.rows {
		if thing > after {
			things = append(things, thing)
		}
	}
	slices.Sort(things)
	return things[:min(limit, len(things))], nil
}

// Columns implements [SampleReader].
func (m *Memory) Columns(ctx context.Context, r ColumnRange) (columns []Column, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for key, data := range m.samples.columns {
		if key.memorySeries == (memorySeries{r.Thing, r.Series}) && key.class == r.Class && key.level == r.Level && key.start >= r.From && key.start < r.To {
			columns = append(columns, Column{Class: r.Class, Level: r.Level, Series: r.Series, Start: key.start, Data: bytes.Clone(data)})
		}
	}
	slices.SortFunc(columns, func(a, b Column) int { return int(a.Start - b.Start) })
	return columns, nil
}

// SeriesOf implements [SampleReader].
func (m *Memory) SeriesOf(ctx context.Context, thing twin.ThingName) (infos []SeriesInfo, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for key, data := range m.samples.infos {
		if key.thing == thing {
			infos = append(infos, SeriesInfo{key.Series, bytes.Clone(data)})
		}
	}
	slices.SortFunc(infos, func(a, b SeriesInfo) int {
		if c := strings.Compare(string(a.Metric), string(b.Metric)); c != 0 {
			return c
		}
		return int(a.Type) - int(b.Type)
	})
	return infos, nil
}
