package rest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCreate(t *testing.T) {
	w := newWorld(t)
	res := w.call("POST", "/api/v1/twins", `{"deviceId":"pump-7","model":"pump","tags":{"site":"hh1"}}`)
	want(t, res, 201, `{"deviceId":"pump-7","model":"pump","tags":{"site":"hh1"},"created":"2026-11-22T12:00:00.000Z"}`)
	if got := res.Header().Get("Location"); got != "/api/v1/twins/pump-7" {
		t.Errorf("Location %s", got)
	}
	if res := w.call("POST", "/api/v1/twins", `{"deviceId":"pump-7"}`); res.Code != 409 {
		t.Errorf("created twice: %d %s", res.Code, res.Body)
	}
	// It is there before its device says anything.
	if got := w.ok(t, "GET", "/twins/pump-7", "").Body.String(); !strings.HasPrefix(got, `{"deviceId":"pump-7","model":"pump","tags":{"site":"hh1"},"created":"2026-11-22T12:00:00.000Z","connected":false,"history":[],`) {
		t.Error(got)
	}
	w.ok(t, "PATCH", "/api/v1/twins/lamp-1/reported", `{"on":true}`)
	w.ok(t, "PATCH", "/api/v1/twins/pump-7/reported", `{"temperature":40}`)
	want(t, w.call("GET", "/api/v1/twins", ""), 200, `{"twins":[{"deviceId":"lamp-1","version":1,"lastSeen":"2026-11-22T12:00:00Z"},`+
		`{"deviceId":"pump-7","model":"pump","tags":{"site":"hh1"},"version":1,"lastSeen":"2026-11-22T12:00:00Z"}]}`)
	want(t, w.call("GET", "/api/v1/twins?model=pump", ""), 200,
		`{"twins":[{"deviceId":"pump-7","model":"pump","tags":{"site":"hh1"},"version":1,"lastSeen":"2026-11-22T12:00:00Z"}]}`)
	want(t, w.call("GET", "/api/v1/twins?model=boat", ""), 200, `{"twins":[]}`)
	// Its history is found by model.
	if got := w.ok(t, "GET", "/api/v1/history?model=pump", "").Body.String(); !strings.Contains(got, `"thing":"pump-7","version":1`) || strings.Contains(got, "lamp") {
		t.Error(got)
	}
}

func TestPatchTwin(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/a/reported", `{"x":1}`)
	for _, step := range [][2]string{
		{`{"model":"pump","tags":{"site":"hh1","floor":"2"}}`, `{"deviceId":"a","model":"pump","tags":{"floor":"2","site":"hh1"}}`},
		{`{"tags":{"floor":null,"row":"9"}}`, `{"deviceId":"a","model":"pump","tags":{"row":"9","site":"hh1"}}`},
		{`{"model":null}`, `{"deviceId":"a","tags":{"row":"9","site":"hh1"}}`},
		{`{}`, `{"deviceId":"a","tags":{"row":"9","site":"hh1"}}`},
		{`{"tags":null}`, `{"deviceId":"a"}`},
	} {
		want(t, w.call("PATCH", "/api/v1/twins/a", step[0]), 200, step[1])
	}
	if got := w.ok(t, "GET", "/api/v1/twins/a/events?kind=managed&order=oldest&limit=1", "").Body.String(); !strings.Contains(got, `"type":"changed","data":{"model":"pump","tags":{"site":"hh1","floor":"2"}}`) {
		t.Errorf("the act is not in the log: %s", got)
	}
	for body, pointer := range map[string]string{
		`{"model":7}`: "#/model", `{"model":"a b"}`: "#/model", `{"tags":{"a":1}}`: "#/tags", `{"tags":[]}`: "#/tags",
		`{"tag":{}}`: "#/tag", `null`: "#", `{"tags":{"a":"` + strings.Repeat("x", 257) + `"}}`: "#/tags",
	} {
		res := w.call("PATCH", "/api/v1/twins/a", body)
		var p struct{ Pointer string }
		if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil || res.Code != 400 || p.Pointer != pointer {
			t.Errorf("%.60s: %d %s, want %s", body, res.Code, res.Body, pointer)
		}
	}
	if res := w.call("PATCH", "/api/v1/twins/nobody", `{"model":"pump"}`); res.Code != 404 {
		t.Errorf("a patch made a twin: %d %s", res.Code, res.Body)
	}
}

func TestDeleteTwin(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/a/reported", `{"x":1}`)
	w.ok(t, "PATCH", "/api/v1/twins/a/reported?shadow=net", `{"y":1}`)
	w.ok(t, "PATCH", "/api/v1/twins/a", `{"model":"pump"}`)
	// One shadow goes alone.
	want(t, w.call("DELETE", "/api/v1/twins/a?shadow=net", ""), 200, `{"deviceId":"a","shadow":"net","version":1,"deleted":true}`)
	w.ok(t, "GET", "/twins/a", "")
	w.ok(t, "PATCH", "/api/v1/twins/a/reported?shadow=net", `{"y":1}`)
	want(t, w.call("DELETE", "/api/v1/twins/a?whole=true", "", `If-Match: "v1"`), 400,
		`{"type":"/problems/invalid-request","title":"Request is not valid","status":400,"detail":"If-Match is about one shadow; it cannot be used to delete the whole twin","instance":"/api/v1/twins/a","requestId":"01ID"}`)
	want(t, w.call("DELETE", "/api/v1/twins/a?whole=true", ""), 200, `{"deviceId":"a","deleted":true}`)
	for _, target := range []string{"/twins/a", "/twins/a?shadow=net", "/api/v1/twins/a/shadows"} {
		if res := w.call("GET", target, ""); res.Code != 404 {
			t.Errorf("%s after the delete: %d %s", target, res.Code, res.Body)
		}
	}
	want(t, w.call("GET", "/api/v1/twins", ""), 200, `{"twins":[]}`)
	if res := w.call("DELETE", "/api/v1/twins/a?whole=true", ""); res.Code != 404 {
		t.Errorf("deleted twice: %d", res.Code)
	}
	// What was stays readable.
	var log struct{ Events []struct{ Kind, Type string } }
	if err := json.Unmarshal(w.ok(t, "GET", "/api/v1/twins/a/events", "").Body.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range log.Events {
		kinds = append(kinds, strings.TrimSpace(e.Kind+" "+e.Type))
	}
	if d := cmp.Diff([]string{"managed deleted", "deleted", "deleted", "updated", "deleted", "managed changed", "updated", "updated"}, kinds); d != "" {
		t.Error(d)
	}
	w.ok(t, "GET", "/twins/a?version=1", "")
}

func TestBatchGet(t *testing.T) {
	w := newWorld(t)
	w.ok(t, "PATCH", "/api/v1/twins/b/reported", `{"x":1}`)
	w.ok(t, "PATCH", "/api/v1/twins/a/desired", `{"y":1.50}`)
	want(t, w.call("POST", "/api/v1/twins:batchGet", `{"ids":["b","nobody","a"]}`), 200, `{"twins":[`+
		`{"deviceId":"b","version":1,"lastSeen":"2026-11-22T12:00:00Z","currentState":{"x":1},"metadata":{"reported":{"x":{"timestamp":1795348800}}}},`+
		`{"deviceId":"a","version":1,"desiredState":{"y":1.50},"delta":{"y":1.50},"metadata":{"desired":{"y":{"timestamp":1795348800}}}}],"missing":["nobody"]}`)
	ids := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`"t%d"`, i)
		}
		return `{"ids":[` + strings.Join(list, ",") + `]}`
	}
	w.ok(t, "POST", "/api/v1/twins:batchGet", ids(1000))
	for body, pointer := range map[string]string{ids(1001): "#/ids", `{"ids":[]}`: "#/ids", `{"ids":["a","b/c"]}`: "#/ids/1", `{"id":"a"}`: "#/id"} {
		if res := w.call("POST", "/api/v1/twins:batchGet", body); res.Code != 400 || !strings.Contains(res.Body.String(), `"pointer":"`+pointer+`"`) {
			t.Errorf("%.40s: %d %s", body, res.Code, res.Body)
		}
	}
}
