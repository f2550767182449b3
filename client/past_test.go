package client_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func TestHistory_pages(t *testing.T) {
	c, seen := serve(t,
		ok(`{"states":[{"timestamp":"2026-11-22T12:00:00.000Z","version":3,"reported":{"x":1.50}},{"version":2}],"next":"N"}`),
		ok(`{"states":[{"version":1}],"next":"more"}`))
	var versions []twin.Version
	q := client.HistoryQuery{Shadow: "net", From: time.Date(2026, 11, 22, 13, 0, 0, 0, time.FixedZone("", 3600)), Limit: 3}
	for st, err := range c.History(context.Background(), "a", q) {
		if err != nil {
			t.Fatal(err)
		}
		if st.Version == 3 && string(st.Reported) != `{"x":1.50}` {
			t.Errorf("reported %s", st.Reported)
		}
		versions = append(versions, st.Version)
	}
	if d := cmp.Diff([]twin.Version{3, 2, 1}, versions); d != "" {
		t.Error(d)
	}
	// Pages of two, as the client was made, and no more than was asked for.
	var targets []string
	for _, e := range *seen {
		targets = append(targets, e.Target)
	}
	const base = "/api/v1/twins/a/history?"
	if d := cmp.Diff([]string{base + "from=2026-11-22T12%3A00%3A00Z&limit=2&shadow=net", base + "cursor=N&from=2026-11-22T12%3A00%3A00Z&limit=1&shadow=net"}, targets); d != "" {
		t.Error(d)
	}
}

func TestHistory_endsWithTheError(t *testing.T) {
	c, _ := serve(t, ok(`{"states":[{"version":1}],"next":"N"}`), answer(400, "application/problem+json", `{"status":400,"detail":"no"}`))
	var errs []error
	for _, err := range c.History(context.Background(), "a", client.HistoryQuery{}) {
		errs = append(errs, err)
	}
	if len(errs) != 2 || errs[0] != nil || errs[1] == nil {
		t.Errorf("errors %v, want none and one", errs)
	}
}

func TestPastTwin(t *testing.T) {
	past := ok(`{"deviceId":"a","version":7,"asOf":"2026-11-22T12:00:00.000Z"}`)
	c, seen := serve(t, past, past)
	got, err := c.PastTwin(context.Background(), "a", "net", time.Time{}, 7)
	if err != nil || got.Version != 7 || got.AsOf.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := c.PastTwin(context.Background(), "a", "", time.Date(2026, 11, 22, 12, 0, 0, 5e6, time.UTC), 0); err != nil {
		t.Error(err)
	}
	if a, b := (*seen)[0].Target, (*seen)[1].Target; a != "/api/v1/twins/a?shadow=net&version=7" || b != "/api/v1/twins/a?at=2026-11-22T12%3A00%3A00.005Z" {
		t.Errorf("asked %s and %s", a, b)
	}
}

func TestSetAttributes(t *testing.T) {
	done := ok(`{"deviceId":"a"}`)
	c, seen := serve(t, done, done)
	model, none, site := "pump", "", "hh1"
	if _, err := c.SetAttributes(context.Background(), "a", &model, map[string]*string{"site": &site, "floor": nil}); err != nil {
		t.Error(err)
	}
	if _, err := c.SetAttributes(context.Background(), "a", &none, nil); err != nil {
		t.Error(err)
	}
	if a, b := (*seen)[0].Body, (*seen)[1].Body; a != `{"model":"pump","tags":{"floor":null,"site":"hh1"}}` || b != `{"model":null}` {
		t.Errorf("sent %s and %s", a, b)
	}
}

// A lost connection is made again after the last event; a refusal is the end.
func TestWatch(t *testing.T) {
	var asked []string
	bodies := []string{
		"id: p1-a\n: hello\n\nid: p2-b\nevent: updated\ndata: {\"thing\":\"a\",\"version\":1}\n\nevent: updated\ndata: {\"thing\":\"a\",\"ver", // cut
		"event: updated\ndata: {\"thing\":\"b\",\"version\":9}\n\n",                                                                            // a batch that is cut comes again
		"event: updated\ndata: {\"thing\":\"a\",\"version\":2}\n\nid: p4-d\nevent: updated\ndata: {\"thing\":\"b\",\"version\":1}\n\n",
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery+" "+r.Header.Get("Last-Event-ID"))
		if len(asked) > len(bodies) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"detail":"the events have expired"}`))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte(bodies[len(asked)-1]))
	}))
	defer s.Close()
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	var got []string
	var end error
	q := client.WatchQuery{Things: []twin.ThingName{"a", "b"}, MinInterval: time.Second, Lost: func(error) { lost++ }}
	for w, err := range c.Watch(context.Background(), q) {
		if end = err; err == nil {
			got = append(got, w.Cursor+" "+string(w.Raw))
		}
	}
	if d := cmp.Diff([]string{`p2-b {"thing":"a","version":1}`, ` {"thing":"a","version":2}`, `p4-d {"thing":"b","version":1}`}, got); d != "" {
		t.Error(d)
	}
	const query = "minInterval=1s&thing=a&thing=b "
	if d := cmp.Diff([]string{query, query + "p2-b", query + "p2-b", query + "p4-d"}, asked); d != "" {
		t.Error(d)
	}
	if end == nil || end.Error() != "the events have expired" || lost != 3 {
		t.Errorf("ended with %v after %d losses", end, lost)
	}
}
