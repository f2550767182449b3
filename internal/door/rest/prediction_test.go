package rest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/predict"
)

// worn is a thing whose wear grows by one a day, beside something that is always the same.
func (w *world) worn(t *testing.T, days int) {
	t.Helper()
	for i := range days {
		w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", fmt.Sprintf(`{"wear":%d.%d,"mode":"run"}`, i, i*7%10))
		w.pass(24 * time.Hour)
	}
}

func TestPrediction(t *testing.T) {
	w := newWorld(t)
	w.worn(t, 60)
	var doc struct {
		PredictedFailureDate *string
		Why                  string
		DaysLeft             float64
		Interval90           struct{ From, To string }
		Probability          []struct{ Days, Probability float64 }
	}
	w.read(t, "/api/v1/twins/pump-7/prediction", &doc)
	if doc.PredictedFailureDate != nil || !strings.Contains(doc.Why, "does not say when it has failed") {
		t.Errorf("without a failure: %+v", doc)
	}
	w.watch.Failure = &predict.Failure{Metric: "reported.wear", Limit: 100}
	w.read(t, "/api/v1/twins/pump-7/prediction?days=200", &doc)
	if doc.PredictedFailureDate == nil || doc.DaysLeft < 30 || doc.DaysLeft > 50 || doc.Interval90.From >= *doc.PredictedFailureDate {
		t.Fatalf("%+v", doc)
	}
	if p := doc.Probability; len(p) != 4 || p[3].Days != 200 || p[3].Probability < 0.9 || p[0].Probability > 0.1 {
		t.Errorf("%+v", p)
	}
	var twin struct {
		Computed struct{ PredictedFailureDate string }
		Why      struct{ PredictedFailureDate string }
	}
	w.read(t, "/twins/pump-7", &twin)
	if twin.Computed.PredictedFailureDate != *doc.PredictedFailureDate || !strings.Contains(twin.Why.PredictedFailureDate, "reported.wear will be above 100") {
		t.Errorf("%+v", twin)
	}
	var list struct{ Things []struct{ DeviceID string } }
	w.read(t, "/api/v1/maintenance?days=100", &list)
	if len(list.Things) != 1 || list.Things[0].DeviceID != "pump-7" {
		t.Errorf("%+v", list)
	}
	w.read(t, "/api/v1/maintenance?days=5", &list)
	if len(list.Things) != 0 {
		t.Errorf("within five days: %+v", list)
	}
	if body := w.ok(t, "GET", "/api/v1/maintenance?format=csv", "").Body.String(); !strings.HasPrefix(body, "deviceId,predictedFailureDate,") || !strings.Contains(body, "\npump-7,20") {
		t.Errorf("%s", body)
	}
	calendar := w.ok(t, "GET", "/api/v1/maintenance?format=ics", "")
	body := calendar.Body.String()
	if calendar.Header().Get("Content-Type") != "text/calendar; charset=utf-8" || strings.Count(body, "BEGIN:VEVENT\r\n") != 1 || !strings.Contains(body, "\r\nDTSTART;VALUE=DATE:202") || !strings.HasSuffix(body, "END:VCALENDAR\r\n") {
		t.Errorf("%s", body)
	}
	for line := range strings.SplitSeq(body, "\r\n") {
		if len(line) > 75 {
			t.Errorf("a line has %d octets: %s", len(line), line)
		}
	}
	w.worn(t, 0)
	for i := 60; i < 110; i++ {
		w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", fmt.Sprintf(`{"wear":%d}`, i))
		w.pass(24 * time.Hour)
	}
	var b struct {
		FailedAt string
		Within90 *float64
		Points   []struct{ OffDays *float64 }
	}
	w.read(t, "/api/v1/twins/pump-7/prediction/backtest", &b)
	if b.FailedAt == "" || b.Within90 == nil || *b.Within90 < 0.7 || len(b.Points) < 10 {
		t.Errorf("%+v", b)
	}
}

func TestAnomaly_faults(t *testing.T) {
	w := newWorld(t)
	w.worn(t, 3)
	for _, c := range []struct {
		method, path, body string
		status             int
		detail             string
	}{
		{"GET", "/api/v1/twins/nobody/anomaly", "", 404, "nobody"},
		{"GET", "/api/v1/twins/nobody/prediction", "", 404, "nobody"},
		{"PATCH", "/api/v1/twins/pump-7/anomaly", `{}`, 400, "nothing to set"},
		{"PATCH", "/api/v1/twins/pump-7/anomaly", `{"threshold":99}`, 400, "threshold: 99 is not 0.5 to 20"},
		{"PATCH", "/api/v1/twins/pump-7/anomaly", `{"muteFor":"soon"}`, 400, "muteFor"},
		{"PATCH", "/api/v1/twins/pump-7/anomaly", `{"limit":3}`, 400, "limit: there is no such member"},
		{"POST", "/api/v1/twins/pump-7/anomaly/verdicts", `{"episode":1,"verdict":"real"}`, 404, "no episode 1"},
		{"POST", "/api/v1/twins/pump-7/anomaly/verdicts", `{"episode":1,"verdict":"odd"}`, 400, "verdict"},
		{"GET", "/api/v1/twins/pump-7/anomaly/preview?threshold=x", "", 400, "threshold"},
		{"GET", "/api/v1/maintenance?format=pdf", "", 400, "format"},
		{"GET", "/api/v1/maintenance?days=-1", "", 400, "days"},
	} {
		res := w.call(c.method, c.path, c.body)
		var p struct{ Detail string }
		if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil || res.Code != c.status || !strings.Contains(p.Detail, c.detail) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, res.Code, res.Body)
		}
	}
	if n := len(w.readEvents(t, "anomaly")); n != 0 {
		t.Errorf("%d events of what was refused", n)
	}
}

// readEvents lists the types of the events of a kind of the pump.
func (w *world) readEvents(t *testing.T, kind string) (types []string) {
	t.Helper()
	var page struct{ Events []struct{ Type string } }
	w.read(t, "/api/v1/twins/pump-7/events?kind="+kind, &page)
	for _, ev := range page.Events {
		types = append(types, ev.Type)
	}
	return types
}
