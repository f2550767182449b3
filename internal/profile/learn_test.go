package profile

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/internal/series"
	"github.com/twofold-iot/twofold/twin"
)

func text(at twin.Time, v string) change { return change{at, twin.TextValue(v)} }

// Dwells count only between two changes that were seen: what held when the window began was
// entered before, and what holds at its end has not been left.
func TestStrip_learn(t *testing.T) {
	s := strip{of: "reported.mode", values: []change{
		text(1000, "off"), text(3000, "on"), text(4000, "off"), text(4500, "on"), {time: 6000}, text(7000, "fault"), text(7500, "off"),
	}}
	a, ok := s.learn(1000, 9000)
	want := Attribute{
		Of: "reported.mode", Now: "off",
		States: []State{
			{Name: "fault", Entered: 1, Left: 1, Held: 500, Median: 500, P95: 500, Longest: 500},
			{Name: "off", Entered: 2, Left: 2, Held: 4000, Median: 500, P95: 500, Longest: 500},
			{Name: "on", Entered: 2, Left: 1, Held: 2500, Median: 1000, P95: 1000, Longest: 1000},
		},
		Transitions: []Transition{{From: "fault", To: "off", Count: 1, Share: 1}, {From: "off", To: "on", Count: 2, Share: 1}, {From: "on", To: "off", Count: 1, Share: 1}},
	}
	if d := cmp.Diff(want, a); !ok || d != "" {
		t.Error(ok, d)
	}
	if _, ok := (&strip{values: []change{text(1, "a")}}).learn(1, 10); ok {
		t.Error("what has not changed has no states")
	}
	many := strip{}
	for i := range twin.Time(StatesMax + 1) {
		many.values = append(many.values, text(i, string(rune('a'+i))))
	}
	if _, ok := many.learn(0, 100); ok {
		t.Error("a text with many values has no states")
	}
}

// What is learned of a chain of which the probabilities and dwells are known is near them.
func TestStrip_learn_recovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	at, state := twin.Time(0), "idle"
	var s strip
	for range 20_000 {
		s.values = append(s.values, text(at, state))
		switch {
		case state == "idle":
			at += twin.Time(60_000 * rng.ExpFloat64())
			state = "run"
		case rng.Float64() < 0.25:
			at += 5_000
			state = "fault"
		default:
			at += 5_000
			state = "idle"
		}
		if s.values[len(s.values)-1].value.Text == "fault" {
			state = "idle"
		}
		at++
	}
	a, _ := s.learn(0, at)
	share := map[string]float64{}
	for _, w := range a.Transitions {
		share[w.From+w.To] = w.Share
	}
	if got := share["runfault"]; got < 0.23 || got > 0.27 {
		t.Errorf("run → fault has the share %g, not about 0.25", got)
	}
	i := slices.IndexFunc(a.States, func(s State) bool { return s.Name == "idle" })
	// The median of an exponential distribution is ln 2 of its mean.
	if got := a.States[i].Median; got < 39_500 || got > 43_700 {
		t.Errorf("the median of idle is %d ms, not about 41,600", got)
	}
}

// Leaves of reported are followed by path; one that goes, or is no text any more, ends.
func TestReportedLines(t *testing.T) {
	shadow := func(reported string) *twin.Shadow {
		req, err := twin.ParseRequest([]byte(`{"state":{"reported":`+reported+`}}`), twin.Limits{}.WithDefaults())
		if err != nil {
			t.Fatal(err)
		}
		c, err := twin.NewChange(twin.ShadowKey{Thing: "t"}, nil, req, 1000, twin.Limits{}.WithDefaults())
		if err != nil {
			t.Fatal(err)
		}
		return c.Current
	}
	list := reportedLines([]history.Moment{
		{Time: 1, Shadow: shadow(`{"mode":"a","motor":{"state":"x","speed":1},"list":["z"]}`)},
		{Time: 2, Shadow: shadow(`{"mode":"a"}`)},
		{Time: 3, Shadow: shadow(`{"mode":7}`)},
		{Time: 4},
		{Time: 5, Shadow: shadow(`{"mode":"b"}`)},
		{Time: 9, Shadow: shadow(`{"mode":"c"}`)},
	}, 9, func(v twin.Value) bool { return v.Type == twin.ValueText })
	want := map[string][]change{
		"reported.mode":        {text(1, "a"), {time: 3}, text(5, "b")},
		"reported.motor.state": {text(1, "x"), {time: 2}},
	}
	got := map[string][]change{}
	for _, s := range list {
		got[s.of] = s.values
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(change{})); d != "" {
		t.Error(d)
	}
}

// The hour of the week is that of the zone, also over a change of clocks, and of a zone that is
// not whole hours from UTC.
func TestWeeks(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][2]int{
		"2026-11-23T08:30:00Z": {9, 14},               // a Monday in winter
		"2026-07-19T22:30:00Z": {0, 4},                // Monday in Berlin, Sunday in UTC
		"2026-11-29T22:59:59Z": {6*24 + 23, 24*0 + 4}, // the last hour of the week
		"2026-11-24T18:45:00Z": {24 + 19, 2*24 + 0},   // Wednesday in Kolkata
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		if b, k := hourOf(twin.TimeOf(at), berlin), hourOf(twin.TimeOf(at), kolkata); b != want[0] || k != want[1] {
			t.Errorf("%s: hour %d in Berlin, %d in Kolkata", text, b, k)
		}
	}
	if a, b := windowOf(berlin, 0, 1e12), windowOf(kolkata, 0, 1e12); a != 3_600_000 || b != 900_000 {
		t.Errorf("windows of %d and %d ms", a, b)
	}
	w := weeks{zone: kolkata}
	monday := twin.TimeOf(time.Date(2026, 11, 23, 0, 0, 0, 0, kolkata))
	for week := range twin.Time(3) {
		for quarter := range twin.Time(4) {
			start := monday + (7*24*4*week+quarter)*900_000
			w.add(&series.RollUp([]series.Point{{Time: start, Value: float64(10 * week)}, {Time: start + 1, Value: float64(10*week + 1)}}, 900_000)[0])
		}
	}
	if h := w.week.Hours[0]; h.Count != 24 || h.Weeks != 3 || h.Avg() != 10.5 || w.week.Samples != 24 {
		t.Errorf("%+v", h)
	}
}

// A number that is reported when it changes has a value at each hour.
func TestStrip_points(t *testing.T) {
	s := strip{values: []change{{1_800_000, twin.NumberValue(5)}, {9_000_000, twin.NumberValue(7)}, {time: 10_000_000}}}
	got := s.points(20_000_000, 3_600_000)
	want := []series.Point{{Time: 1_800_000, Value: 5}, {Time: 3_600_000, Value: 5}, {Time: 7_200_000, Value: 5}, {Time: 9_000_000, Value: 7}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
