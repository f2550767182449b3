package fleet_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

// A query finds what the interpreter of expressions finds, twin by twin.
func TestQuery_asInterpreted(t *testing.T) {
	env, err := expr.NewQueryEnv()
	if err != nil {
		t.Fatal(err)
	}
	seeds := uint64(6)
	if testing.Short() {
		seeds = 3
	}
	compared, found, byColumns := 0, 0, 0
	for seed := range seeds {
		w := newWorld(t, seed)
		for range 40 {
			for range 25 {
				w.change()
			}
			for range 20 {
				source := w.condition(3)
				p, err := expr.Compile(source, env)
				if err != nil {
					continue // two types that do not go together
				}
				var want []twin.ThingName
				for thing, twin := range w.twins {
					r := p.Interpret(w.inputs(thing))
					if quick := p.Evaluate(w.inputs(thing)); quick != r {
						w.explain(source, thing)
						t.Fatalf("seed %d: %s of %s is %+v, interpreted %+v", seed, source, thing, quick, r)
					}
					if r.Holds() && (twin.shadow.Exists() || !twin.attributes.Empty() || twin.telemetry != nil) {
						want = append(want, thing)
					}
				}
				slices.Sort(want)
				page, err := w.engine.Query(t.Context(), &fleet.Request{Where: source, Limit: 1000, Explain: true})
				if err != nil {
					t.Fatalf("%s: %v", source, err)
				}
				var got []twin.ThingName
				for _, r := range page.Rows {
					got = append(got, r.ID)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					for _, thing := range want {
						if !slices.Contains(got, thing) {
							w.explain(source, thing)
						}
					}
					for _, thing := range got {
						if !slices.Contains(want, thing) {
							w.explain(source, thing)
						}
					}
					t.Fatalf("seed %d: %s (-interpreter +query):\n%s", seed, source, diff)
				}
				compared++
				found += len(got)
				byColumns += page.Explain.ByColumns
			}
		}
	}
	if compared < 1000 || found < 5000 || byColumns < 5000 {
		t.Fatalf("%d conditions found %d twins, %d by columns: too few to mean anything", compared, found, byColumns)
	}
}
