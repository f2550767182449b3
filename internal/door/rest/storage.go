package rest

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Storage measures what the data takes.
type Storage func(ctx context.Context) (StorageReport, error)

// StorageReport is what the data takes, and how long there is room for more.
type StorageReport struct {
	UsedBytes uint64         `json:"usedBytes"`
	FreeBytes uint64         `json:"freeBytes"`
	Kinds     []StorageKind  `json:"kinds"`
	Days      []StorageDay   `json:"days"`
	Things    int            `json:"things"`
	Largest   []StorageThing `json:"largest"`
	// GrowthBytes is the median of the last whole days, null if there is none.
	GrowthBytes *uint64 `json:"growthBytesPerDay"`
	// Full is when the disk will be full at that growth, null if it will not or that
	// cannot be told; Why then says why.
	Full      *time.Time       `json:"fullAt"`
	Why       string           `json:"why,omitempty"`
	Retention StorageRetention `json:"retention"`
	Budget    *StorageBudget   `json:"budget,omitempty"`
}

// StorageStepsMax is how many days are named that go when the budget is reached.
const StorageStepsMax = 10

// StorageBudget is how much the data may take, and what goes when there is more.
type StorageBudget struct {
	Bytes uint64 `json:"bytes"`
	// Reached is when the budget is reached at the growth there is, null if that cannot
	// be told; Why then says why.
	Reached *time.Time `json:"reachedAt"`
	Why     string     `json:"why,omitempty"`
	// Next are the days that go first, in order.
	Next []StorageStep `json:"next"`
}

// StorageStep is a day of which the samples, or all events, go.
type StorageStep struct {
	Kind  string `json:"kind"` // telemetry, history
	Day   string `json:"day"`
	Bytes uint64 `json:"bytes"`
}

// Forecast fills in when the budget is reached. growth is in bytes a day.
func (b *StorageBudget) Forecast(now time.Time, used uint64, growth *uint64) {
	switch {
	case used >= b.Bytes:
		b.Why = "it is reached: the oldest days go"
	case growth == nil:
		b.Why = "not enough data: there is no whole day yet"
	case *growth == 0:
		b.Why = "the data does not grow"
	default:
		const yearsMax = 100
		days := (b.Bytes - used) / *growth
		if days > yearsMax*365 {
			b.Why = fmt.Sprintf("not within %d years", yearsMax)
			return
		}
		at := now.AddDate(0, 0, int(days)).UTC().Truncate(24 * time.Hour)
		b.Reached = &at
	}
}

// StorageKind is what one kind of data takes.
type StorageKind struct {
	Kind  string `json:"kind"`
	Bytes uint64 `json:"bytes"`
}

// StorageDay is what the events of one UTC day take.
type StorageDay struct {
	Day   string `json:"day"`
	Bytes uint64 `json:"bytes"`
}

// StorageThing is how many events a thing has written in all.
type StorageThing struct {
	Thing  string `json:"thing"`
	Events uint64 `json:"events"`
}

// StorageRetention is how long the past is kept.
type StorageRetention struct {
	History string `json:"history"`
	Events  string `json:"events"`
	// Telemetry is about samples, Rollups about what they come to in a minute, an hour
	// and a day; Metrics have ages of their own.
	Telemetry string   `json:"telemetry"`
	Rollups   string   `json:"rollups"`
	Metrics   []string `json:"metrics,omitempty"`
	// Models that have, or once had, ages of their own.
	Models []StorageModel `json:"models,omitempty"`
}

// StorageModel is how long the past of the things of a model is kept, and what it takes:
// what came since the model has ages of its own.
type StorageModel struct {
	Model        string `json:"model"`
	History      string `json:"history"`
	Events       string `json:"events"`
	HistoryBytes uint64 `json:"historyBytes"`
	EventsBytes  uint64 `json:"eventsBytes"`
}

func (d *door) storageRoutes() []route {
	return []route{{
		method: "GET", path: "/api/v1/storage", name: "getStorage", summary: "Read what the data takes on disk, how it grows, and when the disk will be full",
		answer: StorageReport{}, handler: d.getStorage,
	}}
}

func (d *door) getStorage(w http.ResponseWriter, r *http.Request) error {
	report, err := d.opts.Storage(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, report)
}

// Forecast fills in when the disk will be full at the growth there is. Once so many
// days are kept as retention allows (zero: no limit), as much expires as comes.
func (s *StorageReport) Forecast(now time.Time, keepDays int) {
	const yearsMax = 100
	switch {
	case s.GrowthBytes == nil:
		s.Why = "not enough data: there is no whole day of events yet"
	case *s.GrowthBytes == 0:
		s.Why = "it does not grow"
	case s.FreeBytes == 0:
		s.Why = "the file system does not tell how much is free"
	default:
		days := s.FreeBytes / *s.GrowthBytes
		if keepDays > 0 && days > uint64(max(0, keepDays-len(s.Days))) {
			s.Why = fmt.Sprintf("it grows until %d days are kept, then as much expires as comes", keepDays)
			return
		}
		if days > yearsMax*365 {
			s.Why = fmt.Sprintf("not within %d years", yearsMax)
			return
		}
		at := now.AddDate(0, 0, int(days)).UTC().Truncate(24 * time.Hour)
		s.Full = &at
	}
}
