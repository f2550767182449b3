package rest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

// allTwins is an index of what an engine settles.
type allTwins struct {
	index   *fleet.Index
	queries *fleet.Engine
}

func (a *allTwins) open(t *testing.T, e *engine.Engine, w *world) {
	t.Helper()
	env, err := expr.NewQueryEnv()
	if err != nil {
		t.Fatal(err)
	}
	a.index = fleet.New(fleet.Options{
		Connected: func(thing twin.ThingName) bool { return w.connected[thing] }, Attributes: e.Attributes,
		Exists: func(context.Context, twin.ThingName) (bool, error) { return false, nil },
	})
	a.queries = &fleet.Engine{Index: a.index, Env: env, Now: e.Now, Rebuild: func(context.Context, twin.Time) (*fleet.Index, error) { return a.index, nil }}
}

func (a *allTwins) settled(s *engine.Settled) {
	n := fleet.Note{Thing: s.Thing, Attributes: s.Attributes, Computed: s.Computed}
	if s.Change != nil && s.Change.Key.Shadow == "" {
		n.Shadow = s.Change.Current
	}
	a.index.Settle(&n)
}

func fleetWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for thing, state := range map[string]string{"pump-1": `{"temp":20,"mode":"on"}`, "pump-2": `{"temp":80}`, "pump-3": `{"temp":"hot"}`} {
		w.ok(t, "PATCH", "/api/v1/twins/"+thing+"/reported", state)
	}
	w.ok(t, "PATCH", "/api/v1/twins/pump-1", `{"model":"pump","tags":{"site":"hh1"}}`)
	return w
}

func TestFleet(t *testing.T) {
	w := fleetWorld(t)
	type page struct {
		Columns []string
		Twins   []struct {
			DeviceID string
			Values   map[string]any
		}
		Total   int
		Next    string
		Hints   []string
		Explain struct{ Twins, ByColumns int }
	}
	var p page
	w.read(t, "/api/v1/fleet?where=reported.temp+%3E+10&select=id&select=reported.temp&sort=-reported.temp&limit=1&explain=true", &p)
	if p.Total != 2 || len(p.Twins) != 1 || p.Twins[0].DeviceID != "pump-2" || p.Twins[0].Values["reported.temp"] != 80.0 || p.Next == "" || p.Explain.Twins != 3 {
		t.Fatalf("%+v", p)
	}
	next := page{}
	if w.read(t, "/api/v1/fleet?where=reported.temp+%3E+10&sort=-reported.temp&limit=1&cursor="+p.Next, &next); next.Twins[0].DeviceID != "pump-1" || next.Next != "" {
		t.Fatalf("%+v", next)
	}
	body := w.ok(t, "POST", "/api/v1/fleet/query", `{"where":"tags.site == 'hh1'","select":["model","reported"]}`).Body.String()
	if !strings.Contains(body, `{"deviceId":"pump-1","values":{"model":"pump","reported":{"temp":20,"mode":"on"}}}`) {
		t.Error(body)
	}
	body = w.ok(t, "POST", "/api/v1/fleet/aggregate", `{"figures":["count()","avg(reported.temp)"],"groupBy":["model"],"where":"has(reported.tmp) || true"}`).Body.String()
	if !strings.Contains(body, `{"groups":[{"key":{"model":""},"twins":2,"figures":{"avg(reported.temp)":80,"count()":2}},{"key":{"model":"pump"}`) ||
		!strings.Contains(body, `"hints":["no twin has reported.tmp; did you mean reported.temp?"]`) {
		t.Error(body)
	}
	w.ok(t, "DELETE", "/api/v1/twins/pump-1?whole=true", "")
	if got := w.ok(t, "GET", "/api/v1/fleet?where=id+%3D%3D+%22pump-1%22", "").Body.String(); !strings.Contains(got, `"total":0`) {
		t.Errorf("a twin that was deleted is found: %s", got)
	}
}

// An act says first what it touches, and does nothing to others, or to more than was said.
func TestFleet_act(t *testing.T) {
	w := fleetWorld(t)
	act := func(body string) string { return w.ok(t, "POST", "/api/v1/fleet/act", body).Body.String() }
	if got := act(`{"where":"has(reported.temp)","desired":{"level":5}}`); !strings.Contains(got, `{"dryRun":true,"matched":3,"done":0,"failed":0,"twins":["pump-1","pump-2","pump-3"]}`) {
		t.Error(got)
	}
	if got := w.ok(t, "GET", "/api/v1/twins/pump-1", "").Body.String(); strings.Contains(got, "level") {
		t.Errorf("a dry run changed %s", got)
	}
	if res := w.call("POST", "/api/v1/fleet/act", `{"where":"has(reported.temp)","desired":{"level":5},"expect":2}`); res.Code != 409 || !strings.Contains(res.Body.String(), "holds for 3 twins, not for 2") {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	if got := act(`{"where":"reported.temp > 10","desired":{"level":5},"expect":2}`); !strings.Contains(got, `{"matched":2,"done":2,"failed":0}`) {
		t.Error(got)
	}
	if got := w.ok(t, "GET", "/api/v1/fleet?where=delta.level+%3D%3D+5&select=id", "").Body.String(); !strings.Contains(got, `"total":2`) {
		t.Error(got)
	}
	if got := act(`{"where":"delta.level == 5","tags":{"wave":"1","site":null},"expect":2}`); !strings.Contains(got, `"done":2`) {
		t.Error(got)
	}
	if got := w.ok(t, "GET", "/api/v1/fleet?where=tags.wave+%3D%3D+%221%22+%26%26+!has(tags.site)&select=id", "").Body.String(); !strings.Contains(got, `"total":2`) {
		t.Error(got)
	}
	if got := act(`{"where":"tags.wave == '1'","command":{"name":"reboot","expiresIn":"1h"},"expect":2}`); !strings.Contains(got, `"done":2`) {
		t.Error(got)
	}
	if got := w.ok(t, "GET", "/api/v1/twins/pump-2/commands", "").Body.String(); !strings.Contains(got, `"name":"reboot"`) {
		t.Error(got)
	}
	if got := w.call("POST", "/api/v1/jobs", `{"id":"fw","document":{"op":"x"},"where":"tags.wave == '1'","things":["pump-1"]}`).Body.String(); !strings.Contains(got, `"total":2`) && !strings.Contains(got, `"things":2`) {
		t.Error(got)
	}
	if res := w.call("POST", "/api/v1/jobs", `{"document":{"op":"x"},"where":"tags.wave == '7'"}`); res.Code != 400 || !strings.Contains(res.Body.String(), "holds for no twin") {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	if got := act(`{"where":"false","desired":{"level":5},"expect":0}`); !strings.Contains(got, `{"matched":0,"done":0,"failed":0}`) {
		t.Error(got)
	}
	// One over the limit of a shadow fails alone.
	w.ok(t, "PATCH", "/api/v1/twins/pump-3/reported", `{"big":"`+strings.Repeat("x", 8000)+`"}`)
	if got := act(`{"where":"true","desired":{"text":"` + strings.Repeat("y", 300) + `"},"expect":3}`); !strings.Contains(got, `"done":2,"failed":1`) || !strings.Contains(got, `"deviceId":"pump-3"`) {
		t.Error(got)
	}
}

func TestFleet_badInput(t *testing.T) {
	w := fleetWorld(t)
	for _, c := range []struct {
		method, path, body string
		want               string
	}{
		{"GET", "/api/v1/fleet?where=reported.temp+%3E", "", `"parameter":"where"`},
		{"GET", "/api/v1/fleet?select=id&select=reportd", "", `there is no reportd; did you mean reported?`},
		{"GET", "/api/v1/fleet?limit=0", "", `"parameter":"limit"`},
		{"GET", "/api/v1/fleet?order=id", "", "order"},
		{"GET", "/api/v1/fleet?cursor=x", "", `"parameter":"cursor"`},
		{"POST", "/api/v1/fleet/query", `{"where":5}`, `"pointer":"#/where"`},
		{"POST", "/api/v1/fleet/query", `{"wher":"true"}`, `"pointer":"#/wher"`},
		{"POST", "/api/v1/fleet/query", `{"select":["id","reportd"]}`, `"pointer":"#/select/1"`},
		{"POST", "/api/v1/fleet/act", `{"desired":{"x":1}}`, `"pointer":"#/where"`},
		{"POST", "/api/v1/fleet/act", `{"where":"true"}`, "exactly one of"},
		{"POST", "/api/v1/fleet/act", `{"where":"true","desired":{},"tags":{}}`, "exactly one of"},
		{"POST", "/api/v1/fleet/act", `{"where":"tru","desired":{"x":1}}`, `"pointer":"#/where"`},
		{"POST", "/api/v1/fleet/act", `{"where":"true","desired":5}`, "must be a JSON object"},
		{"POST", "/api/v1/fleet/act", `{"where":"true","tags":{"a":5}}`, `"pointer":"#/tags"`},
		{"POST", "/api/v1/fleet/act", `{"where":"true","command":{"name":""}}`, "name"},
		{"POST", "/api/v1/fleet/aggregate", `{}`, `"pointer":"#/figures"`},
		{"POST", "/api/v1/fleet/aggregate", `{"figures":["count()","p101(reported.temp)"]}`, `"pointer":"#/figures/1"`},
	} {
		if res := w.call(c.method, c.path, c.body); res.Code != 400 || !strings.Contains(res.Body.String(), c.want) {
			t.Errorf("%s %s %s: %d %s, want 400 with %s", c.method, c.path, c.body, res.Code, res.Body, c.want)
		}
	}
}
