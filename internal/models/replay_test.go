package models_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/models"
	"github.com/twofold-iot/twofold/internal/telemetry"
	"github.com/twofold-iot/twofold/twin"
)

func (w *world) viewer() *models.Viewer {
	return &models.Viewer{
		Registry: w.registry, Samples: telemetry.NewReader(w.store), History: history.New(w.store, nil), Connected: func(twin.ThingName) bool { return false },
		LastSeen: func(twin.ThingName) twin.Time { return 0 }, Now: w.engine.Now,
	}
}

const replayed = `name: pump
computed: {double: reported.x * 2}
alarms:
  high: {when: computed.double > 12, clearWhen: reported.x < 3}
  long: {when: reported.x > 4, for: 15s}
behaviour: {states: {low: {to: {high: reported.x > 5}}, high: {max: 20s, to: {low: reported.x < 3}}}}
`

// The past replayed by the model that was in force is what was recorded.
func TestPreview_asRecorded(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.apply(replayed)
	random := rand.New(rand.NewPCG(7, 7))
	things := []twin.ThingName{"pump-1", "pump-2", "pump-3"}
	from := w.engine.Now()
	for _, thing := range things {
		w.pump(thing)
	}
	for range 400 {
		w.now.Add(int64(1 + random.IntN(20_000)))
		w.update(things[random.IntN(len(things))], fmt.Sprintf(`{"x":%d}`, random.IntN(10)))
	}
	v := w.viewer()
	p, err := v.Preview(t.Context(), models.Ask{Name: "pump", From: from, To: w.engine.Now() + 1})
	if err != nil {
		t.Fatal(err)
	}
	if p.Twins != 3 || p.Replayed != 3 || p.Updates != 400 || len(p.Alarms) != 2 {
		t.Fatalf("%+v", p)
	}
	for _, a := range p.Alarms {
		if a.Count < 20 || a.Count != a.Recorded || a.Twins != 3 || len(a.Newest) != 10 || a.Longest > a.Held {
			t.Errorf("%s: %d times, recorded %d, %+v", a.Name, a.Count, a.Recorded, a)
		}
	}
	told := map[string]int{}
	for _, thing := range things {
		page, err := v.History.Log(t.Context(), history.LogQuery{Thing: thing, Limit: 1000, Filter: history.Filter{Kinds: []twin.EventKind{twin.EventBehaviour}}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range page.Events {
			told[page.Events[i].Type]++
		}
	}
	if fmt.Sprint(told) != fmt.Sprint(p.Behaviour) || told["overrun"] == 0 {
		t.Errorf("recorded %v, replayed %v", told, p.Behaviour)
	}
	one, err := v.Preview(t.Context(), models.Ask{Thing: "pump-2", Source: []byte("name: pump\nalarms: {any: {when: reported.x >= 0}, never: {when: reported.x > 99}}\n"), From: from, To: w.engine.Now() + 1})
	if err != nil || one.Twins != 1 || one.Alarms[0].Count != 1 || one.Alarms[0].Newest[0].To != 0 || one.Alarms[1].Count != 0 {
		t.Errorf("%+v, %v", one, err)
	}
}

// Nothing is revised while the model is as it was; after a change all is that differs, and the
// events stay as they are.
func TestViewer_Revise(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.apply(replayed)
	w.pump("pump-1")
	from := w.engine.Now()
	for _, x := range []int{1, 2, 2, 5} {
		w.now.Add(1000)
		w.update("pump-1", fmt.Sprintf(`{"x":%d}`, x))
	}
	line := models.Line{Thing: "pump-1", Attribute: "double", From: from, To: w.engine.Now() + 1, Limit: 100, Revise: true}
	check := func(want string) {
		t.Helper()
		r, err := w.viewer().Revise(t.Context(), line)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, x := range r.Points {
			text += fmt.Sprintf("v%d %s %t %s by %d; ", x.Version, x.Value.AppendJSON(nil), x.Revised, x.Recorded.AppendJSON(nil), x.By)
		}
		if text += fmt.Sprint(r.Complete); text != want {
			t.Errorf("got  %s\nwant %s", text, want)
		}
	}
	check("v0 null true null by 0; v1 2 false null by 0; v2 4 false null by 0; v4 10 false null by 0; true")
	w.apply("name: pump\ncomputed: {double: reported.x > 4 ? 10.0 : reported.x * 3}\n")
	check("v0 null true null by 0; v1 3 true 2 by 1; v2 6 true 4 by 1; v4 10 false null by 0; true")
	line.Revise = false
	check("v1 2 false null by 0; v2 4 false null by 0; v4 10 false null by 0; true")
	line.Limit = 2
	check("v1 2 false null by 0; v2 4 false null by 0; false")
}
