package rest

import (
	"net/http"
	"time"

	"github.com/twofold-iot/twofold/internal/profile"
	"github.com/twofold-iot/twofold/twin"
)

// profileDocument is what the numbers of a thing are like at each hour of the week.
type profileDocument struct {
	DeviceID twin.ThingName `json:"deviceId"`
	From     string         `json:"from"`
	To       string         `json:"to"`
	Zone     string         `json:"zone"`
	Complete bool           `json:"complete"` // false: of the newest events, or some of the numbers
	Profiles []weekColumns  `json:"profiles"`
}

// weekColumns has an entry for each hour of the week in each list; the first is that of
// Monday from midnight on. Null: there was no number.
type weekColumns struct {
	Of      string     `json:"of"` // such as reported.temperature or telemetry.flow
	Unit    string     `json:"unit,omitempty"`
	Samples int        `json:"samples"`
	Weeks   []int      `json:"weeks"` // in which there was a number
	Count   []int      `json:"count"`
	Mean    []*float64 `json:"mean"`
	Min     []*float64 `json:"min"`
	P5      []*float64 `json:"p5"`
	P50     []*float64 `json:"p50"`
	P95     []*float64 `json:"p95"`
	Max     []*float64 `json:"max"`
}

// profileWindow is what is looked at if nothing is asked for: eight weeks.
const profileWindow twin.Time = 8 * 7 * 24 * 60 * 60 * 1000

func (d *door) getProfile(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	p := d.params(r)
	from, to := p.window()
	zone, err := time.LoadLocation(p.text("zone"))
	if err != nil || p.text("zone") == "Local" {
		p.bad("zone", "zone: %.64q is no time zone such as Europe/Berlin", p.text("zone"))
	}
	if p.err != nil {
		return p.err
	}
	if exists, err := d.exists(r, key.Thing); err != nil || !exists {
		return orNoTwin(err, key.Thing)
	}
	from, to = d.lookBack(from, to, profileWindow)
	list, complete, err := d.opts.Learner.Weekly(r.Context(), key.Thing, from, to, zone, listOf(r.URL.Query()["of"]))
	if err != nil {
		return pastError(err)
	}
	doc := profileDocument{DeviceID: key.Thing, From: timeText(from), To: timeText(to), Zone: zone.String(), Complete: complete, Profiles: []weekColumns{}}
	units := d.units(key.Thing)
	for i := range list {
		c := newWeekColumns(&list[i])
		c.Unit = units[c.Of]
		doc.Profiles = append(doc.Profiles, c)
	}
	return writeJSON(w, doc)
}

// units are those that the model of a thing says, by path.
func (d *door) units(thing twin.ThingName) map[string]string {
	all := map[string]string{}
	if d.opts.Models == nil {
		return all
	}
	m, _ := d.opts.Models.Model(d.attributes(thing).Model)
	if m == nil {
		return all
	}
	for _, s := range m.Schemas() {
		for i := range s.Properties {
			all[s.Properties[i].Path.String()] = s.Properties[i].Unit
		}
	}
	return all
}

func newWeekColumns(w *profile.Week) weekColumns {
	c := weekColumns{Of: w.Of, Samples: int(w.Samples)}
	for i := range w.Hours {
		h := &w.Hours[i]
		c.Weeks, c.Count = append(c.Weeks, h.Weeks), append(c.Count, int(h.Count))
		for _, f := range [...]struct {
			into  *[]*float64
			value func() float64
		}{
			{&c.Mean, h.Avg},
			{&c.Min, func() float64 { return h.Min.Value }},
			{&c.P5, func() float64 { return h.Quantile(0.05) }},
			{&c.P50, func() float64 { return h.Quantile(0.5) }},
			{&c.P95, func() float64 { return h.Quantile(0.95) }},
			{&c.Max, func() float64 { return h.Max.Value }},
		} {
			if h.Count == 0 {
				*f.into = append(*f.into, nil)
				continue
			}
			v := roundTo(f.value(), figureDigits)
			*f.into = append(*f.into, &v)
		}
	}
	return c
}

// figureDigits is how many significant digits a figure of many numbers has.
const figureDigits = 9
