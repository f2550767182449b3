package rest

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/predict"
	"github.com/twofold-iot/twofold/twin"
)

// Due lists what fails next.
type Due interface {
	// Expected lists the things with a date of failure, the next first.
	Expected() []predict.Expected
}

// predictionDocument is when a thing is expected to fail.
type predictionDocument struct {
	DeviceID    twin.ThingName        `json:"deviceId"`
	Date        *string               `json:"predictedFailureDate"` // the median; null: see why
	Why         string                `json:"why"`
	Reached     bool                  `json:"reached"` // it has failed, at the date
	Interval50  *dates                `json:"interval50,omitempty"`
	Interval90  *dates                `json:"interval90,omitempty"`
	Days        *float64              `json:"daysLeft,omitempty"` // to the date
	Method      string                `json:"method,omitempty"`
	Metric      string                `json:"metric,omitempty"`
	Limit       *float64              `json:"limit,omitempty"`
	Below       bool                  `json:"below,omitempty"`
	Level       *float64              `json:"level,omitempty"` // of the metric, smoothed
	Slope       *float64              `json:"slopePerDay,omitempty"`
	Shape       string                `json:"shape,omitempty"`
	Onset       string                `json:"onset,omitempty"` // of the degradation
	Points      int                   `json:"points"`
	Probability []probabilityDocument `json:"probability"` // of a failure within days
	Made        string                `json:"madeAt,omitempty"`
}

// dates hold a date; no end: it is later than can be said.
type dates struct {
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

type probabilityDocument struct {
	Days        float64 `json:"days"`
	Probability float64 `json:"probability"`
}

type backtestDocument struct {
	DeviceID twin.ThingName  `json:"deviceId"`
	Why      string          `json:"why,omitempty"`
	Failed   string          `json:"failedAt,omitempty"` // none: it has not yet
	Points   []backtestPoint `json:"points"`
	// Of the points with a date, how many had the failure in their intervals; null: it has not failed.
	Within50 *float64 `json:"within50"`
	Within90 *float64 `json:"within90"`
}

type backtestPoint struct {
	At         string   `json:"at"`
	Date       *string  `json:"predictedFailureDate"`
	Why        string   `json:"why,omitempty"`
	Interval50 *dates   `json:"interval50,omitempty"`
	Interval90 *dates   `json:"interval90,omitempty"`
	Off        *float64 `json:"offDays,omitempty"` // the date less the failure
}

type maintenanceDocument struct {
	Things []maintenanceEntry `json:"things"`
	Total  int                `json:"total"`
}

type maintenanceEntry struct {
	DeviceID    twin.ThingName `json:"deviceId"`
	Date        string         `json:"predictedFailureDate"`
	Reached     bool           `json:"reached"`
	Interval90  dates          `json:"interval90"`
	Probability *float64       `json:"probability,omitempty"` // within the days that were asked for
	Metric      string         `json:"metric"`
	Why         string         `json:"why"`
}

func newDates(t [2]twin.Time) *dates { return &dates{timeText(t[0]), timeText(t[1])} }

func (d *door) getPrediction(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	days := p.number("days", daysMax)
	if p.err != nil {
		return p.err
	}
	rep, err := d.look(r)
	if err != nil {
		return err
	}
	now := twin.TimeOf(d.opts.Now())
	x := &rep.Predicted
	doc := predictionDocument{
		DeviceID: rep.Thing, Why: x.Says(now), Reached: x.Reached, Method: x.Method, Metric: x.Metric, Below: x.Below, Shape: x.Shape, Onset: timeText(x.Onset), Points: x.Points,
		Made: timeText(x.Made), Probability: []probabilityDocument{},
	}
	if x.Metric != "" {
		doc.Limit, doc.Level, doc.Slope = shown(x.Limit), shown(x.Level), shown(x.Slope)
	}
	if x.Date != 0 {
		date := timeText(x.Date)
		doc.Date, doc.Interval50, doc.Interval90 = &date, newDates(x.Interval50), newDates(x.Interval90)
		doc.Days = shown(inSeconds(x.Date-now) / (24 * 60 * 60))
	}
	for _, within := range x.Probability {
		doc.Probability = append(doc.Probability, probabilityDocument{float64(within.Days), within.Probability})
	}
	if days > 0 {
		doc.Probability = append(doc.Probability, probabilityDocument{float64(days), x.Within(float64(days))})
	}
	return writeJSON(w, doc)
}

// daysMax bounds how far ahead is asked.
const daysMax = 36_600

func (d *door) backtest(w http.ResponseWriter, r *http.Request) error {
	key, err := d.known(r)
	if err != nil {
		return err
	}
	b, err := d.opts.Predictions.Backtest(r.Context(), key.Thing)
	if err != nil {
		return err
	}
	doc := backtestDocument{DeviceID: key.Thing, Why: b.Reason, Failed: timeText(b.Failed), Points: []backtestPoint{}}
	var in50, in90, n float64
	for i := range b.Points {
		x := &b.Points[i]
		p := backtestPoint{At: timeText(x.Made), Why: x.Reason}
		if x.Date != 0 && !x.Reached {
			date := timeText(x.Date)
			p.Date, p.Interval50, p.Interval90 = &date, newDates(x.Interval50), newDates(x.Interval90)
			if b.Failed != 0 {
				p.Off = shown(inSeconds(x.Date-b.Failed) / (24 * 60 * 60))
				n++
				in50, in90 = in50+holds(x.Interval50, b.Failed), in90+holds(x.Interval90, b.Failed)
			}
		} else if x.Reached {
			p.Why = "the limit is reached"
		}
		doc.Points = append(doc.Points, p)
	}
	if n > 0 {
		doc.Within50, doc.Within90 = shown(in50/n), shown(in90/n)
	}
	return writeJSON(w, doc)
}

// holds is 1 if a time is in an interval, else 0.
func holds(interval [2]twin.Time, t twin.Time) float64 {
	if t >= interval[0] && (interval[1] == 0 || t <= interval[1]) {
		return 1
	}
	return 0
}

func (d *door) listMaintenance(w http.ResponseWriter, r *http.Request) error {
	p := d.params(r)
	days, limit := p.number("days", daysMax), p.limit(maintenanceMax)
	format := p.choice("format", "json", "csv", "ics")
	if p.err != nil {
		return p.err
	}
	if limit == 0 {
		limit = pageMax
	}
	now := twin.TimeOf(d.opts.Now())
	doc := maintenanceDocument{Things: []maintenanceEntry{}}
	for _, x := range d.opts.Predictions.Expected() {
		if days > 0 && x.Date > now+twin.Time(days)*24*60*60*1000 {
			break
		}
		if doc.Total++; len(doc.Things) == limit {
			continue
		}
		e := maintenanceEntry{DeviceID: x.Thing, Date: timeText(x.Date), Reached: x.Reached, Interval90: *newDates(x.Interval90), Metric: x.Metric, Why: x.Says(now)}
		if days > 0 {
			e.Probability = shown(x.Within(float64(days)))
		}
		doc.Things = append(doc.Things, e)
	}
	switch format {
	case "csv":
		return writeMaintenanceCSV(w, &doc)
	case "ics":
		return writeCalendar(w, &doc, now)
	}
	return writeJSON(w, doc)
}

const maintenanceMax = 100_000

func writeMaintenanceCSV(w http.ResponseWriter, doc *maintenanceDocument) error {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	out := csv.NewWriter(w)
	_ = out.Write([]string{"deviceId", "predictedFailureDate", "from90", "to90", "reached", "metric", "why"}) // Error tells
	for i := range doc.Things {
		e := &doc.Things[i]
		_ = out.Write([]string{string(e.DeviceID), e.Date, e.Interval90.From, e.Interval90.To, strconv.FormatBool(e.Reached), e.Metric, e.Why})
	}
	out.Flush()
	return out.Error()
}

// writeCalendar writes a list as iCalendar, RFC 5545: one event of a whole day for each thing, on
// the day from which on a failure is to be reckoned with.
func writeCalendar(w http.ResponseWriter, doc *maintenanceDocument, now twin.Time) error {
	var b strings.Builder
	line := func(text string) { b.WriteString(foldLine(text)) }
	line("BEGIN:VCALENDAR")
	line("VERSION:2.0")
	line("PRODID:-//Twofold//Maintenance//EN")
	for i := range doc.Things {
		e := &doc.Things[i]
		start := e.Interval90.From
		if start == "" {
			start = e.Date
		}
		day, err := time.Parse(time.RFC3339Nano, start)
		if err != nil {
			return fmt.Errorf("the date of %s: %w", e.DeviceID, err)
		}
		line("BEGIN:VEVENT")
		line("UID:" + string(e.DeviceID) + "@twofold")
		line("DTSTAMP:" + now.Std().Format("20060102T150405Z"))
		line("DTSTART;VALUE=DATE:" + day.Format("20060102"))
		line("SUMMARY:" + calendarText("Maintain "+string(e.DeviceID)))
		line("DESCRIPTION:" + calendarText(e.Why))
		line("END:VEVENT")
	}
	line("END:VCALENDAR")
	w.Header().Set("Content-Type", "text/calendar; charset=utf-8")
	_, err := w.Write([]byte(b.String()))
	return err
}

// calendarText escapes a text, RFC 5545 section 3.3.11.
func calendarText(s string) string {
	return strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\n", `\n`).Replace(s)
}

// foldLine ends a line, and breaks it where it is longer than 75 octets, RFC 5545 section 3.1.
func foldLine(s string) string {
	const most = 74
	var b strings.Builder
	for len(s) > most {
		n := most
		for s[n]&0xC0 == 0x80 {
			n--
		}
		b.WriteString(s[:n] + "\r\n ")
		s = s[n:]
	}
	return b.String() + s + "\r\n"
}
