package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, s store.Samples, opts telemetry.Options) *telemetry.Telemetry {
	t.Helper()
	if opts.Now == nil {
		opts.Now = time.Now
	}
	tel, err := telemetry.Open(quiet, s, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tel.Close() })
	return tel
}

func row(thing twin.ThingName, at twin.Time, v float64) twin.Row {
	return twin.Row{Thing: thing, Time: at, Arrival: at, Values: []twin.Measurement{{Metric: "t", Value: twin.NumberValue(v)}}}
}

// gate is a store whose appends wait, or fail.
type gate struct {
	store.Samples
	enter chan bool // one value per append: whether it was to be durable
	leave chan error
}

func (g *gate) AppendRows(ctx context.Context, rows []store.SampleRow, durable bool) error {
	g.enter <- durable
	if err := <-g.leave; err != nil {
		return err
	}
	return g.Samples.AppendRows(ctx, rows, durable)
}

// What is durable is answered after the store has it, what is not at once; what
// queues while a group is written goes together.
func TestIngest_order(t *testing.T) {
	mem := store.NewMemory()
	g := &gate{mem, make(chan bool), make(chan error)}
	tel := open(t, g, telemetry.Options{})
	answered := make(chan error, 10)
	done := func(err error) { answered <- err }
	if err := tel.Ingest([]twin.Row{row("a", 1, 1)}, true, done); err != nil {
		t.Fatal(err)
	}
	if !<-g.enter {
		t.Error("a durable row is written without a sync")
	}
	if err := tel.Ingest([]twin.Row{row("a", 2, 2)}, false, done); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if err := tel.Ingest([]twin.Row{row("a", 3, 3), row("b", 3, 3)}, true, done); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answered:
		t.Fatalf("answered (%v) before the store has it", err)
	default:
	}
	g.leave <- nil
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if !<-g.enter {
		t.Error("a group with a durable row is written without a sync")
	}
	lost := errors.New("disk")
	g.leave <- lost
	if err := <-answered; !errors.Is(err, lost) {
		t.Fatalf("got %v, want the error of the store", err)
	}
	rows, err := mem.Rows(t.Context(), "a", 0, 10)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
}

func TestIngest_full(t *testing.T) {
	g := &gate{store.NewMemory(), make(chan bool, 1), make(chan error)}
	tel := open(t, g, telemetry.Options{QueueRowsMax: 3})
	ok := func(error) {}
	put := func() error { return tel.Ingest([]twin.Row{row("a", 1, 1), row("a", 2, 1)}, true, ok) }
	if err := put(); err != nil {
		t.Fatal(err)
	}
	<-g.enter // it is no more in the queue
	if err := put(); err != nil {
		t.Fatal(err)
	}
	if err := put(); twin.Kind(err) != twin.KindFull {
		t.Fatalf("got %v, want an error of kind KindFull", err)
	}
	close(g.leave)
	if err := tel.Close(); err != nil {
		t.Fatal(err)
	}
	if err := put(); twin.Kind(err) != twin.KindUnavailable {
		t.Fatalf("after Close: %v", err)
	}
}

// Nothing that was taken is lost by Close, from many goroutines.
func TestIngest_close(t *testing.T) {
	mem := store.NewMemory()
	tel := open(t, mem, telemetry.Options{GroupRowsMax: 7})
	var wg sync.WaitGroup
	const things, each = 8, 200
	for i := range things {
		wg.Go(func() {
			for n := range each {
				if err := tel.Ingest([]twin.Row{row(twin.ThingName(fmt.Sprint("t", i)), twin.Time(n), 1)}, false, func(error) {}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := tel.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range things {
		rows, err := mem.Rows(t.Context(), twin.ThingName(fmt.Sprint("t", i)), 0, 10*each)
		if err != nil || len(rows) != each {
			t.Fatalf("thing %d: %d rows of %d, %v", i, len(rows), each, err)
		}
		for n, r := range rows {
			if r.Time != twin.Time(n) {
				t.Fatalf("thing %d: row %d is of %d", i, n, r.Time)
			}
		}
	}
}
