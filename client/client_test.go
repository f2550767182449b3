package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

// exchange is a request that was made, in short.
type exchange struct {
	Method, Target, Body, IfMatch, Key, Type string
}

// serve runs a server that gives the answers in turn and notes the requests.
func serve(t *testing.T, answers ...func(http.ResponseWriter)) (*client.Client, *[]exchange) {
	t.Helper()
	var seen []exchange
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, exchange{
			r.Method, r.URL.RequestURI(), string(body),
			r.Header.Get("If-Match"), r.Header.Get("Idempotency-Key"), r.Header.Get("Content-Type"),
		})
		if len(answers) < len(seen) {
			t.Errorf("request %d was not expected: %s %s", len(seen), r.Method, r.URL)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		answers[len(seen)-1](w)
	}))
	t.Cleanup(s.Close)
	c, err := client.New(s.URL+"/", client.Options{PageLen: 2})
	if err != nil {
		t.Fatal(err)
	}
	return c, &seen
}

func answer(status int, contentType, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Date", "Sun, 22 Nov 2026 20:25:40 GMT")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func ok(body string) func(http.ResponseWriter) { return answer(200, "application/json", body) }

func TestTwin(t *testing.T) {
	body := `{"deviceId":"a:1","shadow":"net","version":18446744073709551615,"lastSeen":"2026-11-22T20:25:31Z","currentState":{"n":9007199254740993},"metadata":{"reported":{"n":{"timestamp":1}}}}`
	c, seen := serve(t, ok(body))
	got, err := c.Twin(context.Background(), "a:1", "net")
	if err != nil {
		t.Fatal(err)
	}
	if want := (exchange{Method: "GET", Target: "/api/v1/twins/a:1?shadow=net"}); (*seen)[0] != want {
		t.Errorf("asked %+v, want %+v", (*seen)[0], want)
	}
	if string(got.CurrentState) != `{"n":9007199254740993}` || got.Version != 1<<64-1 || got.DesiredState != nil || string(got.Raw) != body {
		t.Errorf("twin %+v", got)
	}
	if !got.LastSeen.Equal(time.Date(2026, 11, 22, 20, 25, 31, 0, time.UTC)) || got.AnsweredAt.Sub(got.LastSeen) != 9*time.Second {
		t.Errorf("times %s, %s", got.LastSeen, got.AnsweredAt)
	}
}

func TestTwins_pages(t *testing.T) {
	c, seen := serve(t, ok(`{"twins":[{"deviceId":"a","version":3},{"deviceId":"b"}],"next":"x/y"}`), ok(`{"twins":[{"deviceId":"c"}]}`))
	var names []twin.ThingName
	for s, err := range c.Twins(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, s.DeviceID)
	}
	if d := cmp.Diff([]twin.ThingName{"a", "b", "c"}, names); d != "" {
		t.Error(d)
	}
	if got := (*seen)[1].Target; got != "/api/v1/twins?cursor=x%2Fy&limit=2" {
		t.Errorf("second page: %s", got)
	}
	// Who stops early asks no more.
	c, seen = serve(t, ok(`{"twins":[{"deviceId":"a"},{"deviceId":"b"}],"next":"n"}`))
	for range c.Twins(context.Background()) {
		break
	}
	if len(*seen) != 1 {
		t.Errorf("%d requests", len(*seen))
	}
}

func TestShadows_pages(t *testing.T) {
	c, _ := serve(t, ok(`{"classic":true,"names":["m","n"],"next":"x"}`), ok(`{"classic":true,"names":["o"]}`))
	var names []twin.ShadowName
	for n, err := range c.Shadows(context.Background(), "a") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	if d := cmp.Diff([]twin.ShadowName{"", "m", "n", "o"}, names); d != "" {
		t.Error(d)
	}
}

func TestLists_endWithTheError(t *testing.T) {
	c, _ := serve(t, ok(`{"twins":[{"deviceId":"a"}],"next":"x"}`), answer(503, "text/plain", "no"))
	var got []error
	for _, err := range c.Twins(context.Background()) {
		got = append(got, err)
	}
	if len(got) != 2 || got[0] != nil || got[1] == nil {
		t.Errorf("errors %v, want none and one", got)
	}
}

func TestChanges(t *testing.T) {
	done := ok(`{"deviceId":"a","version":4}`)
	c, seen := serve(t, done, done, ok(`{"deviceId":"a","version":4,"deleted":true}`))
	ctx, patch := context.Background(), json.RawMessage(`{"x":1.50}`)
	opts := client.ChangeOptions{Shadow: "s", IfVersion: 3, IdempotencyKey: "k"}
	if ch, err := c.PatchDesired(ctx, "a", patch, opts); err != nil || ch.Version != 4 {
		t.Errorf("%+v %v", ch, err)
	}
	if _, err := c.PatchReported(ctx, "a", patch, client.ChangeOptions{}); err != nil {
		t.Error(err)
	}
	if ch, err := c.Delete(ctx, "a", client.ChangeOptions{}); err != nil || !ch.Deleted {
		t.Errorf("%+v %v", ch, err)
	}
	want := []exchange{
		{"PATCH", "/api/v1/twins/a/desired?shadow=s", `{"x":1.50}`, `"v3"`, "k", "application/merge-patch+json"},
		{"PATCH", "/api/v1/twins/a/reported", `{"x":1.50}`, "", "", "application/merge-patch+json"},
		{Method: "DELETE", Target: "/api/v1/twins/a"},
	}
	if d := cmp.Diff(want, *seen); d != "" {
		t.Error(d)
	}
}

func TestErrors(t *testing.T) {
	problem := `{"type":"/problems/version-conflict","title":"Twin has changed","status":412,"detail":"You sent v1.","instance":"/i","requestId":"01ID","currentVersion":7}`
	c, _ := serve(t,
		answer(412, "application/problem+json", problem),
		answer(404, "application/problem+json; charset=utf-8", `{"status":404,"title":"gone"}`),
		answer(502, "text/html", "<html>proxy</html>"),
		answer(500, "application/problem+json", "{broken"),
		ok("not json"),
	)
	get := func() error {
		_, err := c.Twin(context.Background(), "a", "")
		return err
	}
	err := get()
	var e *client.Error
	if !errors.As(err, &e) || e.CurrentVersion != 7 || e.RequestID != "01ID" || !client.IsConflict(err) || client.IsNotFound(err) || err.Error() != "You sent v1. (request 01ID)" {
		t.Errorf("conflict: %v %+v", err, e)
	}
	if err := get(); !client.IsNotFound(err) || err.Error() != "gone" {
		t.Errorf("not found: %v", err)
	}
	for _, want := range []string{"answered 502 Bad Gateway and no reason; is it a Twofold server?", "answered 500", "read the answer to GET /api/v1/twins/a"} {
		if err := get(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestUnreachable(t *testing.T) {
	s := httptest.NewServer(nil)
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	var u *client.UnreachableError
	if _, err := c.Twin(context.Background(), "a", ""); !errors.As(err, &u) || !strings.Contains(err.Error(), "no answer from "+s.URL+": ") || strings.Count(err.Error(), "http://") != 1 {
		t.Errorf("%v", err)
	}
}

func TestLimits(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/slow") {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	}))
	defer s.Close()
	c, err := client.New(s.URL, client.Options{BodyBytesMax: 99, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Twin(context.Background(), "long", ""); err == nil || !strings.Contains(err.Error(), "longer than 99 bytes") {
		t.Errorf("%v", err)
	}
	var u *client.UnreachableError
	if _, err := c.Twin(context.Background(), "slow", ""); !errors.As(err, &u) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestNew_badURL(t *testing.T) {
	for _, server := range []string{"", "127.0.0.1:8080", "ftp://x", "http://", "/path", "http://[::1"} {
		if _, err := client.New(server, client.Options{}); err == nil || !strings.Contains(err.Error(), "is not a URL such as http://127.0.0.1:8080") {
			t.Errorf("%q: %v", server, err)
		}
	}
}
