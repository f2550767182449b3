package twin_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/twin"
)

func TestParseReport(t *testing.T) {
	got, err := twin.ParseReport([]byte(`{"type":"error","message":"fan stuck","severity":"critical",
		"correlationId":"c-1","time":"2026-11-22T20:25:31.204Z","data":{"code": 7, "big": 9007199254740993}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := twin.Event{
		Kind: twin.EventReported, Type: "error", Message: "fan stuck", Severity: twin.SeverityCritical, Correlation: "c-1",
		OriginTime: 1795379131204, Data: []byte(`{"code":7,"big":9007199254740993}`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := twin.ParseReport([]byte(`{"type":"ota","time":1795379131204}`)); err != nil || got.OriginTime != 1795379131204 {
		t.Errorf("milliseconds: %+v, %v", got, err)
	}
}

func TestParseReport_bad(t *testing.T) {
	for body, want := range map[string]string{
		``:                                "not a JSON object",
		`[]`:                              "not a JSON object",
		`{}`:                              `"type" is missing`,
		`{"type":""}`:                     `"type" is missing`,
		`{"type":1}`:                      `"type" is not a string`,
		`{"type":"a"} x`:                  "more after",
		`{"type":"a","type":"b"}`:         "not valid JSON",
		`{"type":"a","mesage":"b"}`:       `"mesage" is not known`,
		`{"type":"a","severity":"bad"}`:   "none of info",
		`{"type":"a","time":"yesterday"}`: "neither RFC 3339",
		`{"type":"a","time":-5}`:          "outside of 1970",
		`{"type":"a","time":true}`:        "not a string",
		`{"type":"` + strings.Repeat("x", 65) + `"}`: "longer than 64 bytes",
	} {
		if _, err := twin.ParseReport([]byte(body)); err == nil || twin.Kind(err) != twin.KindInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
	if _, err := twin.ParseReport(make([]byte, twin.ReportBytesMax+1)); twin.Kind(err) != twin.KindTooLarge {
		t.Errorf("too large: %v", err)
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte(`{"type":"error","data":[1,{"a":null}],"time":1e3}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		ev, err := twin.ParseReport(body)
		if err != nil {
			return
		}
		ev.Thing, ev.Seq, ev.Time = "a", 1, 1
		ev.Origin.Session = "s"
		back, err := twin.DecodeEvent(ev.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ev, back); diff != "" {
			t.Fatal(diff)
		}
	})
}
