package server

import (
	"context"
	"fmt"
	"time"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// storageLargest is how many twins are listed as the largest.
const storageLargest = 10

// storage tells what the data takes and how long there is room.
func (s *Server) storage(ctx context.Context) (rest.StorageReport, error) {
	stats, err := s.store.Stats(ctx, storageLargest)
	if err != nil {
		return rest.StorageReport{}, fmt.Errorf("measure the store: %w", err)
	}
	keep := s.config.Retention
	r := storageReport(&stats)
	r.Retention = rest.StorageRetention{History: ageValue{&keep.History}.String(), Events: ageValue{&keep.Events}.String()}
	r.Forecast(time.Now(), keep.days())
	return r, nil
}

// days is how many days of events there will be at most, zero if there is no end.
func (c *RetentionConfig) days() int {
	if c.History == 0 || c.Events == 0 {
		return 0
	}
	return int(max(c.History, c.Events)/ageDay) + 1
}

func storageReport(stats *store.Stats) rest.StorageReport {
	r := rest.StorageReport{
		UsedBytes: stats.Space.UsedBytes, FreeBytes: stats.Space.FreeBytes, Things: stats.Things,
		Kinds: []rest.StorageKind{}, Days: []rest.StorageDay{}, Largest: []rest.StorageThing{},
	}
	for _, k := range stats.Kinds {
		r.Kinds = append(r.Kinds, rest.StorageKind(k))
	}
	for _, d := range stats.Days {
		day := twin.Time(int64(d.Day) * ageDay.Milliseconds()).Std().Format(time.DateOnly)
		r.Days = append(r.Days, rest.StorageDay{Day: day, Bytes: d.Bytes})
	}
	for _, t := range stats.Largest {
		r.Largest = append(r.Largest, rest.StorageThing{Thing: string(t.Thing), Events: uint64(t.Events)})
	}
	if growth, ok := stats.Growth(); ok {
		r.GrowthBytes = &growth
	}
	return r
}
