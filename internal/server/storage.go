package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twofold-iot/twofold/internal/door/rest"
	"github.com/twofold-iot/twofold/internal/store"
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
	r.Retention = rest.StorageRetention{
		History: ageValue{&keep.History}.String(), Events: ageValue{&keep.Events}.String(),
		Telemetry: ageValue{&keep.Telemetry}.String(), Rollups: ageValue{&keep.Rollups}.String(), Metrics: keep.Metrics,
	}
	r.Retention.Models = s.storageModels(&stats)
	now := s.clock.Now()
	r.Forecast(now, keep.days(len(stats.Columns) > 0))
	r.Budget, err = s.budgetReport(ctx, now, r.GrowthBytes)
	return r, err
}

// days is how many days of data there will be at most, zero if there is no end.
func (c *RetentionConfig) days(telemetry bool) int {
	keeps := []ModelRetention{c.of("")}
	for model := range c.Models {
		keeps = append(keeps, c.of(model))
	}
	var longest time.Duration
	for _, k := range keeps {
		ages := []time.Duration{k.History, k.Events}
		if telemetry {
			ages = append(ages, k.Telemetry, k.Rollups)
		}
		if slices.Contains(ages, 0) {
			return 0
		}
		longest = max(longest, slices.Max(ages))
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
		r.Days = append(r.Days, rest.StorageDay{Day: dayText(d.Day), Bytes: d.Bytes})
	}
	for _, t := range stats.Largest {
		r.Largest = append(r.Largest, rest.StorageThing{Thing: string(t.Thing), Events: uint64(t.Events)})
	}
	if growth, ok := stats.Growth(); ok {
		r.GrowthBytes = &growth
	}
	return r
}
