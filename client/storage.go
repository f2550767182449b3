package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Storage is what the data of a server takes on disk, in bytes.
type Storage struct {
	UsedBytes uint64 `json:"usedBytes"`
	FreeBytes uint64 `json:"freeBytes"`
	Kinds     []struct {
		Kind  string `json:"kind"`
		Bytes uint64 `json:"bytes"`
	} `json:"kinds"`
	Days []struct {
		Day   string `json:"day"` // UTC, 2006-01-02
		Bytes uint64 `json:"bytes"`
	} `json:"days"`
	Things  int `json:"things"`
	Largest []struct {
		Thing  twin.ThingName `json:"thing"`
		Events uint64         `json:"events"`
	} `json:"largest"`
	GrowthBytes *uint64    `json:"growthBytesPerDay"` // nil: not known yet
	Full        *time.Time `json:"fullAt"`            // nil: see Why
	Why         string     `json:"why"`
	Retention   struct {
		History   string   `json:"history"`
		Events    string   `json:"events"`
		Telemetry string   `json:"telemetry"`
		Rollups   string   `json:"rollups"`
		Metrics   []string `json:"metrics"` // that have ages of their own
		Models    []struct {
			Model        string `json:"model"`
			History      string `json:"history"`
			Events       string `json:"events"`
			HistoryBytes uint64 `json:"historyBytes"`
			EventsBytes  uint64 `json:"eventsBytes"`
		} `json:"models"` // that have, or once had, ages of their own
	} `json:"retention"`
	Budget *StorageBudget `json:"budget"` // nil: there is none

	Raw []byte `json:"-"` // the answer as it came
}

// Storage reads what the data takes, how it grows, and when the disk will be full.
func (c *Client) Storage(ctx context.Context) (*Storage, error) {
	a, err := c.do(ctx, http.MethodGet, "/api/v1/storage", nil, nil)
	if err != nil {
		return nil, err
	}
	s := &Storage{Raw: a.body}
	if err := json.Unmarshal(a.body, s); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return s, nil
}

// StorageBudget is how much the data may take, and what goes when there is more.
type StorageBudget struct {
	Bytes   uint64     `json:"bytes"`
	Reached *time.Time `json:"reachedAt"` // nil: see Why
	Why     string     `json:"why"`
	Next    []struct {
		Kind  string `json:"kind"` // telemetry, history
		Day   string `json:"day"`  // UTC, 2006-01-02
		Bytes uint64 `json:"bytes"`
	} `json:"next"` // goes first, in order
}
