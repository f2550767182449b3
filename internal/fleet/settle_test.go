package fleet_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

// Whatever is noted before a query begins is found by it, also if others are bringing it
// in just then.
func TestIndex_seesWhatIsSettled(t *testing.T) {
	env, err := expr.NewQueryEnv()
	if err != nil {
		t.Fatal(err)
	}
	index := fleet.New(fleet.Options{
		Connected: func(twin.ThingName) bool { return false }, Attributes: func(twin.ThingName) *twin.Attributes { return &twin.Attributes{Model: "pump"} },
		Exists: func(context.Context, twin.ThingName) (bool, error) { return true, nil },
	})
	engine := &fleet.Engine{Index: index, Env: env, Now: func() twin.Time { return testNow }}
	running, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() { index.Run(running) })
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			thing := twin.ThingName(fmt.Sprintf("t%d", i))
			for n := range 400 {
				if i%2 == 0 {
					index.Settle(&fleet.Note{Thing: thing, Computed: expr.Map{"n": twin.NumberValue(float64(n))}})
				} else {
					index.Sample([]twin.Row{{Thing: thing, Time: testNow, Arrival: testNow, Values: []twin.Measurement{{Metric: "n", Value: twin.NumberValue(float64(n))}}}})
				}
				page, err := engine.Query(t.Context(), &fleet.Request{Where: fmt.Sprintf("id == %q && (computed.n == %d || telemetry.n == %d)", thing, n, n)})
				if err != nil || page.Total != 1 {
					t.Errorf("%s: %d is not found (%v)", thing, n, err)
					return
				}
			}
		})
	}
	writers.Wait()
}
