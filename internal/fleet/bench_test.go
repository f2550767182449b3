package fleet_test

import (
	"fmt"
	"testing"

	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

func BenchmarkQuery(b *testing.B) {
	w := newWorld(b, 1)
	for i := range 100_000 {
		thing := twin.ThingName(fmt.Sprintf("pump-%06d", i))
		w.twins[thing] = &plain{attributes: twin.Attributes{Model: []string{"pump", "motor"}[i%2], Tags: map[string]string{"site": fmt.Sprint("s", i%50)}}}
		state := ""
		for k := range 20 {
			if k > 0 {
				state += ","
			}
			state += fmt.Sprintf(`"a%d":%d`, k, (i*(k+3))%997)
		}
		w.update(thing, `{"reported":{`+state+`,"mode":"`+[]string{"on", "off", "idle"}[i%3]+`"}}`)
	}
	w.bring()
	for name, where := range map[string]string{
		"filter": `reported.a3 > 500 && reported.a7 < 300 && reported.mode == "on"`, "equality": `tags.site == "s7"`, "loop": `reported.exists(k, k == "a3")`,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := w.engine.Query(b.Context(), &fleet.Request{Where: where}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("group", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.engine.Aggregate(b.Context(), &fleet.AggregateRequest{GroupBy: []string{"tags.site"}, Figures: []string{"count()", "p95(reported.a3)"}}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
