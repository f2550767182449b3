package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
	r.Retention.Models = s.storageModels(&stats)
	r.Forecast(time.Now(), keep.days())
	return r, nil
}

// days is how many days of events there will be at most, zero if there is no end.
func (c *RetentionConfig) days() int {
	keeps := []ModelRetention{{c.History, c.Events}}
	for model := range c.Models {
		keeps = append(keeps, c.of(model))
	}
	var longest time.Duration
	for _, k := range keeps {
		if k.History == 0 || k.Events == 0 {
			return 0
		}
		longest = max(longest, k.History, k.Events)
	}
	return int(longest/ageDay) + 1
}

// storageModels tells of the models that have a retention group.
func (s *Server) storageModels(stats *store.Stats) []rest.StorageModel {
	sizes := make(map[store.Class]uint64)
	for _, c := range stats.Classes {
		sizes[c.Class] = c.Bytes
	}
	var models []rest.StorageModel
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		keep, group := s.config.Retention.of(name), s.groups[name]
		models = append(models, rest.StorageModel{
			Model: name, History: ageValue{&keep.History}.String(), Events: ageValue{&keep.Events}.String(),
			HistoryBytes: sizes[store.ClassOf(group, store.KindHistory)], EventsBytes: sizes[store.ClassOf(group, store.KindLog)],
		})
	}
	return models
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
