package pebblestore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/store/storetest"
	"github.com/twofold-iot/twofold/twin"
)

// BenchmarkCommit commits 200-byte reports of 50,000 things in groups from two
// committers, as the engine does, each with two groups in flight.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("group=%d", size), func(b *testing.B) { benchmarkCommit(b, size) })
	}
}

func benchmarkCommit(b *testing.B, size int) {
	const committers, inFlight, thingsEach = 2, 2, 12_500
	s, err := pebblestore.Open(b.TempDir(), pebblestore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}()
	lanes := committers * inFlight
	groups := (b.N + size*lanes - 1) / (size * lanes)
	result := make(chan error, lanes)
	b.ResetTimer()
	start := time.Now()
	for lane := range lanes {
		go func() {
			rng := rand.New(rand.NewPCG(uint64(lane), 1))
			w := storetest.NewWorld(twin.TimeOf(start))
			for range groups {
				ms := make([]store.Mutation, 0, size)
				for range size {
					thing := twin.ThingName(fmt.Sprintf("device-%d-%05d", lane, rng.IntN(thingsEach)))
					m := w.Report(thing, rng)
					w.Accept(m)
					ms = append(ms, m)
				}
				if _, err := s.Commit(context.Background(), ms); err != nil {
					result <- err
					return
				}
			}
			result <- nil
		}()
	}
	for range lanes {
		if err := <-result; err != nil {
			b.Fatal(err)
		}
	}
	n := float64(groups * size * lanes)
	b.ReportMetric(n/time.Since(start).Seconds(), "updates/s")
	b.ReportMetric(float64(s.BytesWritten())/n, "bytes/update")
}
