package store

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// KindStats is what one kind of data takes.
type KindStats struct {
	Kind  string // history, events, log, shadows, heads, proofs, records, telemetry
	Bytes uint64 // on disk, estimated
}

// ClassStats is what the events of a retention class take.
type ClassStats struct {
	Class Class
	Bytes uint64 // on disk, estimated
}

// DayStats is what the events of one day take.
type DayStats struct {
	Day   uint32
	Bytes uint64 // on disk, estimated
}

// ThingStats is how much a thing has written.
type ThingStats struct {
	Thing  twin.ThingName
	Events twin.Seq // since its beginning, also those that have expired
}

// Stats tells where the space goes.
type Stats struct {
	Space   Space
	Kinds   []KindStats
	Classes []ClassStats // that have events
	Days    []DayStats   // kept, oldest first; history and events
	Columns []DayStats   // days of telemetry that are kept, of samples and then of rollups
	Things  int          // that have any event
	Largest []ThingStats // most events first
}

// Meter measures a store. It reads the head of every thing, so it is not for every
// request.
type Meter interface {
	Stats(ctx context.Context, largest int) (Stats, error)
}

// Rank adds a thing to the largest, of which at most so many are kept.
func (s *Stats) Rank(t ThingStats, most int) {
	s.Things++
	if n := len(s.Largest); n == most && (n == 0 || s.Largest[n-1].Events >= t.Events) {
		return
	}
	i, _ := slices.BinarySearchFunc(s.Largest, t, func(a, b ThingStats) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), cmp.Compare(a.Thing, b.Thing))
	})
	s.Largest = slices.Insert(s.Largest, i, t)
	s.Largest = s.Largest[:min(len(s.Largest), most)]
}

// Growth is the median of what the whole days before the newest took, at most the
// last seven of them; ok is false when there is none.
func (s *Stats) Growth() (bytesPerDay uint64, ok bool) {
	const most = 7
	sum := make(map[uint32]uint64)
	for _, d := range append(slices.Clone(s.Days), s.Columns...) {
		sum[d.Day] += d.Bytes
	}
	days := slices.Sorted(maps.Keys(sum))
	days = days[:max(0, len(days)-1)]
	days = days[max(0, len(days)-most):]
	if len(days) == 0 {
		return 0, false
	}
	var sizes []uint64
	for _, d := range days {
		sizes = append(sizes, sum[d])
	}
	slices.Sort(sizes)
	return sizes[len(sizes)/2], true
}
