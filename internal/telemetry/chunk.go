package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

const (
	minute twin.Time = 60_000
	hour             = 60 * minute
	day              = 24 * hour
)

// chunkMax is the most samples of a chunk: what a read of one sample decodes, and what a
// late sample writes anew.
const chunkMax = 4096

// codec reads and writes chunks of numbers or of states.
type codec[T any] struct {
	at     func(*T) twin.Time
	encode func([]byte, []T) []byte
	decode func([]T, []byte) ([]T, error)
}

var (
	numbers = codec[series.Point]{func(p *series.Point) twin.Time { return p.Time }, series.AppendNumbers, series.ReadNumbers}
	states  = codec[series.State]{func(s *series.State) twin.Time { return s.Time }, series.AppendStates, series.ReadStates}
)

// search returns the place of the first sample at or after a time.
func (c *codec[T]) search(list []T, t twin.Time) int {
	i, _ := slices.BinarySearchFunc(list, t, func(x T, t twin.Time) int { return cmp.Compare(c.at(&x), t) })
	return i
}

// inOrder sorts samples by time, in place. Of two of one time the later one in the list counts.
func (c *codec[T]) inOrder(list []T) []T {
	byTime := func(a, b T) int { return cmp.Compare(c.at(&a), c.at(&b)) }
	if !slices.IsSortedFunc(list, byTime) {
		slices.SortStableFunc(list, byTime)
	}
	kept := list[:0]
	for i := range list {
		if i+1 < len(list) && c.at(&list[i+1]) == c.at(&list[i]) {
			continue
		}
		kept = append(kept, list[i])
	}
	return kept
}

// merge merges two lists in order of time. Of two of one time that of fresh counts.
func (c *codec[T]) merge(old, fresh []T) []T {
	switch {
	case len(old) == 0:
		return fresh
	case len(fresh) == 0:
		return old
	}
	list := make([]T, 0, len(old)+len(fresh))
	for len(old) > 0 && len(fresh) > 0 {
		a, b := c.at(&old[0]), c.at(&fresh[0])
		switch {
		case a < b:
			list, old = append(list, old[0]), old[1:]
		case a > b:
			list, fresh = append(list, fresh[0]), fresh[1:]
		default:
			list, old, fresh = append(list, fresh[0]), old[1:], fresh[1:]
		}
	}
	return append(append(list, old...), fresh...)
}

// read appends the samples of the columns between two times, but no further column
// when there are so many.
func (c *codec[T]) read(list []T, columns []store.Column, from, to twin.Time, most int) ([]T, error) {
	for i := range columns {
		if i+1 < len(columns) && columns[i+1].Start <= from {
			continue
		}
		if columns[i].Start >= to || len(list) >= most {
			break
		}
		n := len(list)
		var err error
		if list, err = c.decode(list, columns[i].Data); err != nil {
			return nil, damaged(&columns[i], err)
		}
		if columns[i].Start < from {
			list = slices.Delete(list, n, n+c.search(list[n:], from))
		}
		list = list[:n+c.search(list[n:], to)]
	}
	return list, nil
}

func damaged(col *store.Column, err error) error {
	return fmt.Errorf("column of %q at %d: %w", col.Metric, col.Start, err)
}

// write appends columns with the samples, which are of one day: full ones and one with the
// rest if they are the last of the day, else all of about one size.
func (c *codec[T]) write(columns []store.Column, s store.Series, list []T, last bool) []store.Column {
	size := chunkMax
	if n := (len(list) + chunkMax - 1) / chunkMax; n > 0 && !last {
		size = (len(list) + n - 1) / n
	}
	for chunk := range slices.Chunk(list, size) {
		columns = append(columns, store.Column{
			Class: store.ClassSamples, Level: store.LevelSamples, Series: s, Start: c.at(&chunk[0]), Data: c.encode(nil, chunk),
		})
	}
	return columns
}

// dayFold is what a fold does to the samples of a series on one day.
type dayFold[T any] struct {
	columns []store.Column // to be written or deleted
	// samples are those of the day, new and old, from the start of the minute of the
	// first new one on, and maybe some before.
	samples []T
	chunks  int // there were
}

// foldDay puts fresh samples, in order of time and of one day, into the chunks of their
// series that there are from a time on.
func (c *codec[T]) foldDay(s store.Series, old []store.Column, fresh []T) (dayFold[T], error) {
	f := dayFold[T]{chunks: len(old)}
	if len(old) == 0 {
		f.samples, f.columns = fresh, c.write(nil, s, fresh, true)
		return f, nil
	}
	from := series.StartOf(c.at(&fresh[0]), minute)
	for i := range old {
		last := i+1 == len(old)
		if !last && old[i+1].Start <= from {
			continue
		}
		mine := fresh
		if !last {
			mine = fresh[:c.search(fresh, old[i+1].Start)]
			fresh = fresh[len(mine):]
		}
		list, err := c.decode(nil, old[i].Data)
		if err != nil {
			return f, damaged(&old[i], err)
		}
		if len(mine) > 0 {
			list = c.merge(list, mine)
			if c.at(&list[0]) != old[i].Start {
				f.columns = append(f.columns, store.Column{Class: store.ClassSamples, Level: store.LevelSamples, Series: s, Start: old[i].Start})
			}
			f.columns = c.write(f.columns, s, list, last)
		}
		f.samples = append(f.samples, list...)
	}
	return f, nil
}

// columns reads the columns of a level whose start is in a range.
func columns(ctx context.Context, s store.SampleReader, thing twin.ThingName, of store.Series, level store.SampleLevel, from, to twin.Time) ([]store.Column, error) {
	class := store.ClassRollups
	if level == store.LevelSamples {
		class = store.ClassSamples
	}
	return s.Columns(ctx, store.ColumnRange{Thing: thing, Class: class, Level: level, Series: of, From: from, To: to})
}
