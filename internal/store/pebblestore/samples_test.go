package pebblestore_test

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/twin"
)

// Rows that were acknowledged are there after a power cut, as rows or in the column they
// were folded into, each once; folds run beside the appends.
func TestSamples_powerCuts(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 0))
	rounds := 60
	if raceEnabled || testing.Short() {
		rounds = 10
	}
	for range rounds {
		samplesCut(t, rng)
	}
}

var cutSeries = store.Series{Metric: "n", Type: twin.ValueNumber}

func samplesCut(t *testing.T, rng *rand.Rand) {
	disk := vfs.NewCrashableMem()
	s := openOn(t, disk, func(o *pebblestore.Options) { o.MemtableBytes = 64 << 10 })
	var mu sync.Mutex
	acked := map[uint64]bool{}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		wg.Go(func() {
			for n := uint64(w) << 32; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				row := store.SampleRow{Thing: "pump", Time: 1, Arrival: 2, Values: binary.AppendUvarint(nil, n)}
				durable := n%2 == 0
				if err := s.AppendRows(context.Background(), []store.SampleRow{row}, durable); err != nil {
					t.Error(err)
					return
				}
				if durable {
					mu.Lock()
					acked[n] = true
					mu.Unlock()
				}
			}
		})
	}
	for range 1 + rng.IntN(20) {
		foldAll(t, s)
	}
	mu.Lock()
	want := make(map[uint64]bool, len(acked))
	for n := range acked {
		want[n] = true
	}
	mu.Unlock()
	percent := []int{0, 30, 100}[rng.IntN(3)]
	left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(rng.Uint64(), 0))})
	close(stop)
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := openOn(t, left, nil)
	defer again.Close()
	found := samplesLeft(t, again)
	slices.Sort(found)
	if len(slices.Compact(slices.Clone(found))) != len(found) {
		t.Fatal("a row is there twice")
	}
	for _, n := range found {
		delete(want, n)
	}
	if len(want) > 0 {
		t.Fatalf("%d of the acknowledged rows are lost", len(want))
	}
}

// foldAll turns all rows into one more column, which lists them.
func foldAll(t *testing.T, s *pebblestore.Store) {
	rows, err := s.Rows(t.Context(), "pump", 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 {
		return
	}
	var data []byte
	for _, r := range rows {
		data = append(data, r.Values...)
	}
	last := rows[len(rows)-1].Number
	f := store.SampleFold{Thing: "pump", Through: last, Columns: []store.Column{{Series: cutSeries, Start: twin.Time(last), Data: data}}}
	if err := s.Fold(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func samplesLeft(t *testing.T, s *pebblestore.Store) (found []uint64) {
	foldAll(t, s) // rows and columns alike
	columns, err := s.Columns(t.Context(), store.ColumnRange{Thing: "pump", Series: cutSeries, To: math.MaxInt64})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range columns {
		for b := c.Data; len(b) > 0; {
			n, size := binary.Uvarint(b)
			found = append(found, n)
			b = b[size:]
		}
	}
	return found
}
