package storetest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// testSamples does the same random work on the subject and on the reference.
func testSamples(t *testing.T, s *subject) {
	rng := rand.New(rand.NewPCG(7, 7))
	ref := store.NewMemory()
	for range 300 {
		work := sampleWork(rng, ref)
		for _, to := range []store.Samples{ref, s} {
			if err := work(to); err != nil {
				t.Fatal(err)
			}
		}
		if rng.IntN(20) == 0 && s.durable {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s.Store = s.open(t, s.dir)
		}
		if diff := cmp.Diff(dumpSamples(t, ref, rng.IntN(2) == 0), dumpSamples(t, s, rng.IntN(2) == 0)); diff != "" {
			t.Fatalf("telemetry (-reference +subject):\n%.3000s", diff)
		}
	}
}

var sampleThings = []twin.ThingName{"a", "ab", "b"}

var sampleSeries = []store.Series{
	{Metric: "t", Type: twin.ValueNumber}, {Metric: "t", Type: twin.ValueText}, {Metric: "t.x", Type: twin.ValueNumber},
}

// sampleWork chooses what is done next.
func sampleWork(rng *rand.Rand, ref *store.Memory) func(store.Samples) error {
	thing := sampleThings[rng.IntN(len(sampleThings))]
	at := start + twin.Time(rng.Int64N(3*24*3600*1000))
	switch rng.IntN(11) {
	case 10:
		class, day, odd := store.SampleClass(rng.IntN(2)), at.Day(), rng.IntN(3)
		return func(s store.Samples) error {
			_, err := s.TrimColumns(context.Background(), class, day, func(thing twin.ThingName, of store.Series) bool {
				return (len(thing)+len(of.Metric)+int(of.Type))%3 == odd
			})
			return err
		}
	case 0:
		class, before := store.SampleClass(rng.IntN(2)), (start + twin.Time(rng.Int64N(2*24*3600*1000))).Day()
		return func(s store.Samples) error { return s.DropColumns(context.Background(), class, before) }
	case 1, 2, 3:
		f := store.SampleFold{Thing: thing}
		rows, _ := ref.Rows(context.Background(), thing, 0, 1+rng.IntN(9))
		if len(rows) > 0 {
			f.Through = rows[len(rows)-1].Number
		}
		for i := range rng.IntN(4) {
			c := store.Column{
				Class: store.SampleClass(rng.IntN(2)), Level: store.SampleLevel(rng.IntN(4)), Series: sampleSeries[rng.IntN(len(sampleSeries))],
				Start: at - at%3_600_000, Data: fmt.Append(nil, "column ", i, at),
			}
			if rng.IntN(4) == 0 {
				c.Data = nil
			}
			f.Columns = append(f.Columns, c)
		}
		f.Infos = []store.SeriesInfo{{Series: sampleSeries[rng.IntN(len(sampleSeries))], Data: fmt.Append(nil, at)}}
		return func(s store.Samples) error { return s.Fold(context.Background(), f) }
	}
	var rows []store.SampleRow
	several := rng.IntN(2) == 0
	for i := range 1 + rng.IntN(8) {
		if several {
			thing = sampleThings[rng.IntN(len(sampleThings))]
		}
		row := twin.Row{Values: []twin.Measurement{{Metric: "t", Value: twin.NumberValue(float64(i))}}}
		rows = append(rows, store.SampleRow{Thing: thing, Time: at, Arrival: at + twin.Time(rng.Int64N(9)) - 4, Values: row.AppendValues(nil)})
	}
	durable := rng.IntN(2) == 0
	return func(s store.Samples) error { return s.AppendRows(context.Background(), rows, durable) }
}

// SampleContents is all the telemetry of the suite's things.
type SampleContents struct {
	Things  []twin.ThingName
	Rows    map[twin.ThingName][]store.SampleRow
	Columns map[string][]store.Column
	Series  map[twin.ThingName][]store.SeriesInfo
	Days    map[store.SampleClass][]uint32 // with columns
}

func dumpSamples(t *testing.T, s store.Samples, paged bool) *SampleContents {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	limit := 1000
	if paged {
		limit = 1
	}
	c := &SampleContents{Rows: map[twin.ThingName][]store.SampleRow{}, Columns: map[string][]store.Column{}, Series: map[twin.ThingName][]store.SeriesInfo{}}
	for after := twin.ThingName(""); ; {
		things, err := s.RowThings(t.Context(), after, limit)
		must(err)
		if len(things) == 0 {
			break
		}
		c.Things = append(c.Things, things...)
		after = things[len(things)-1]
	}
	c.Days = map[store.SampleClass][]uint32{}
	for _, class := range []store.SampleClass{store.ClassSamples, store.ClassRollups} {
		days, err := s.ColumnDays(t.Context(), class)
		must(err)
		for _, d := range days {
			c.Days[class] = append(c.Days[class], d.Day)
		}
	}
	for _, thing := range sampleThings {
		for after := store.RowNumber(0); ; {
			rows, err := s.Rows(t.Context(), thing, after, limit)
			must(err)
			if len(rows) == 0 {
				break
			}
			c.Rows[thing] = append(c.Rows[thing], rows...)
			after = rows[len(rows)-1].Number
		}
		infos, err := s.SeriesOf(t.Context(), thing)
		must(err)
		if len(infos) > 0 {
			c.Series[thing] = infos
		}
		for _, series := range sampleSeries {
			for i := range 6 {
				r := store.ColumnRange{Thing: thing, Class: store.SampleClass(i % 2), Level: store.SampleLevel(i / 2), Series: series, To: math.MaxInt64}
				all, err := s.Columns(t.Context(), r)
				must(err)
				if len(all) == 0 {
					continue
				}
				c.Columns[fmt.Sprint(thing, series, i)] = all
				r.From, r.To = all[0].Start+1, all[len(all)-1].Start
				inner, err := s.Columns(t.Context(), r)
				must(err)
				if len(inner) != max(0, len(all)-2) {
					t.Fatalf("columns between the first and the last: %d of %d", len(inner), len(all))
				}
			}
		}
	}
	return c
}
