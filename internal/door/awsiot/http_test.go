package awsiot_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

// TestHandler_shadow is the life of a shadow over HTTP, watched over MQTT. Spec §8.
func TestHandler_shadow(t *testing.T) {
	for _, c := range []struct{ target, prefix, name string }{
		{"/things/lamp%3A1/shadow", "$aws/things/lamp:1/shadow/", "lamp:1"},
		{"/things/lamp:1/shadow", "$aws/things/lamp:1/shadow/", "lamp:1"},
		{"/things/lamp%3a1/shadow?name=%24pkg", "$aws/things/lamp:1/shadow/name/$pkg/", "lamp:1~$pkg"},
	} {
		t.Run(c.target, func(t *testing.T) {
			r := newRig(t, awsiot.Options{})
			missing := errorBody("No shadow exists with name: '" + c.name + "'")
			wantHTTP(t, r.do("GET", c.target, ""), 404, "ResourceNotFoundException", missing)
			wantHTTP(t, r.do("DELETE", c.target, ""), 404, "ResourceNotFoundException", missing)
			r.quiet()

			const accepted = `{"state":{"desired":{"level":80}},"metadata":{"desired":{"level":{"timestamp":1700000000}}},"version":1,"timestamp":1700000000,"clientToken":"t"}`
			wantHTTP(t, r.do("POST", c.target, `{"state":{"desired":{"level":80}},"clientToken":"t"}`), 200, "", accepted)
			r.want(c.prefix+"update/accepted", accepted)
			r.want(c.prefix+"update/delta", `{"version":1,"timestamp":1700000000,"state":{"level":80},"metadata":{"level":{"timestamp":1700000000}},"clientToken":"t"}`)
			r.want(c.prefix+"update/documents", `{"previous":null,"current":{"state":{"desired":{"level":80}},"metadata":{"desired":{"level":{"timestamp":1700000000}}},"version":1},"timestamp":1700000000,"clientToken":"t"}`)

			wantHTTP(t, r.do("POST", c.target, `{"state":{},"version":7}`), 409, "ConflictException", errorBody("Version conflict"))
			r.engine.now += 1000
			wantHTTP(t, r.do("GET", c.target, ""), 200, "", `{"state":{"desired":{"level":80},"delta":{"level":80}},"metadata":{"desired":{"level":{"timestamp":1700000000}}},"version":1,"timestamp":1700000001}`)
			r.quiet() // row 17: no get/accepted
			wantHTTP(t, r.do("DELETE", c.target, ""), 200, "", `{"version":1,"timestamp":1700000001}`)
			r.want(c.prefix+"delete/accepted", `{"version":1,"timestamp":1700000001}`) // row 18
			wantHTTP(t, r.do("GET", c.target, ""), 404, "ResourceNotFoundException", missing)
			r.quiet()
		})
	}
}

func TestHandler_origin(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.do("POST", "/things/lamp-1/shadow", `{"state":{}}`, "Authorization", "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/iotdata/aws4_request, SignedHeaders=host, Signature=00")
	u := r.engine.updates[0]
	if u.Origin.Door != twin.DoorAWS || u.Origin.Session != "192.0.2.1" || u.Origin.PacketID != 0 || u.Resent {
		t.Fatalf("submitted %+v", u)
	}
}

// TestHandler_Idempotency_Key: a repeat gets the answer of the first request and
// has no effect.
func TestHandler_Idempotency_Key(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	first := r.do("POST", "/things/lamp-1/shadow", `{"state":{}}`, "Idempotency-Key", "k")
	r.engine.now += 5000
	second := r.do("POST", "/things/lamp-1/shadow", `{"state":{}}`, "Idempotency-Key", "k")
	wantHTTP(t, second, 200, "", first.Body.String())
	r.do("POST", "/things/lamp-1/shadow", `{"state":{"reported":{"a":1}}}`, "Idempotency-Key", "k")
	r.do("DELETE", "/things/lamp-1/shadow", ``, "Idempotency-Key", "k")
	var hashes []uint32
	for _, u := range r.engine.updates {
		if u.IdempotencyKey != "k" {
			t.Fatalf("submitted %+v", u)
		}
		hashes = append(hashes, u.Origin.PayloadHash)
	}
	if hashes[0] != hashes[1] || hashes[0] == hashes[2] || hashes[0] == hashes[3] {
		t.Fatalf("hashes %v: want the repeat alone to equal the first", hashes)
	}
	w := r.do("POST", "/things/lamp-1/shadow", `{"state":{}}`, "Idempotency-Key", strings.Repeat("k", 256))
	wantHTTP(t, w, 400, "InvalidRequestException", errorBody("Invalid Idempotency-Key: use at most 255 bytes"))
}

// TestHandler_answers_after_the_outcome: HTTP 200 says durable.
func TestHandler_answers_after_the_outcome(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.engine.hold = true
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() { answered <- r.do("POST", "/things/lamp-1/shadow", `{"state":{}}`) }()
	receive(t, r.engine.holding)
	select {
	case w := <-answered:
		t.Fatalf("answered %d before there is an outcome", w.Code)
	default:
	}
	r.engine.settle(1)
	if w := receive(t, answered); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
}

// TestHandler_client_gone: a client that leaves frees its goroutine; the update
// takes its course.
func TestHandler_client_gone(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.engine.hold = true
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() {
		req := httptest.NewRequestWithContext(ctx, "POST", "/things/lamp-1/shadow", strings.NewReader(`{"state":{}}`))
		r.door.Handler().ServeHTTP(httptest.NewRecorder(), req)
		close(left)
	}()
	receive(t, r.engine.holding)
	cancel()
	receive(t, left)
	r.engine.settle(1)
	if n := len(r.engine.snapshot()); n != 1 {
		t.Fatalf("%d shadows, want 1", n)
	}
}

// TestHandler_verbs: 405 with the class of the service, whatever the rest is like.
func TestHandler_verbs(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	for _, c := range []struct{ target, allow string }{
		{"/things/lamp-1/shadow", "GET, POST, DELETE"},
		{"/things/b%20ad/shadow?name=%25", "GET, POST, DELETE"},
		{"/api/things/shadow/ListNamedShadowsForThing/lamp-1", "GET"},
		{"/topics/a", "POST"},
		{"/retainedMessage/a", "GET"},
		{"/retainedMessage", "GET"},
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "G"} {
			w := r.do(method, c.target, "")
			if slices.Contains(strings.Split(c.allow, ", "), method) {
				if w.Code == 405 {
					t.Errorf("%s %s: 405", method, c.target)
				}
				continue
			}
			if got := w.Header().Get("Allow"); got != c.allow {
				t.Errorf("%s %s: Allow %q, want %q", method, c.target, got, c.allow)
			}
			wantHTTP(t, w, 405, "MethodNotAllowedException", errorBody("Method "+method+" is not allowed here; use "+c.allow))
		}
	}
}

func TestHandler_unknown_paths(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	for _, target := range []string{
		"/", "/things/a/", "/things/a/shadow/", "/things/a/shadow/x", "/things/a/b/shadow",
		"/Things/a/shadow", "/topics", "/api/things/shadow/ListNamedShadowsForThing", "/retainedMessages",
		"/api/things/shadow/ListNamedShadowsForThing/a/b", "/api/v1/twins", "/retainedmessage",
	} {
		req := httptest.NewRequest("GET", target, nil)
		if awsiot.Serves(req) {
			t.Errorf("Serves(%s)", target)
		}
		wantHTTP(t, r.do("GET", target, ""), 404, "UnknownOperationException", errorBody("No operation of the data plane has this path"))
	}
	for _, target := range []string{
		"/things/a/shadow", "/things//shadow", "/things/a%2Fb/shadow", "/topics/a/b", "/topics/", "/retainedMessage", "/retainedMessage/",
		"/retainedMessage/a%2Fb", "/api/things/shadow/ListNamedShadowsForThing/a", "/things", "/things/a", "/indices", "/indices/search",
	} {
		if !awsiot.Serves(httptest.NewRequest("PUT", target, nil)) {
			t.Errorf("not Serves(%s)", target)
		}
	}
}

func TestHandler_bad_query(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	w := r.do("DELETE", "/things/lamp-1/shadow?name=%zz", "")
	wantHTTP(t, w, 400, "InvalidRequestException", errorBody("Invalid percent-encoding in the path or query"))
	// A name that got lost must not turn into the classic shadow.
	r.do("POST", "/things/lamp-1/shadow", `{"state":{}}`)
	if w := r.do("DELETE", "/things/lamp-1/shadow?name=", ""); w.Code != 400 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
}

func TestHandler_ListNamedShadows(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	const path = "/api/things/shadow/ListNamedShadowsForThing/lamp%3A1"
	wantHTTP(t, r.do("GET", path, ""), 200, "", `{"results":[],"timestamp":1700000000}`)
	r.do("POST", "/things/lamp%3A1/shadow", `{"state":{}}`) // the classic shadow is not listed
	r.do("POST", "/things/other/shadow?name=x", `{"state":{}}`)
	var all []string
	for i := range 30 {
		name := fmt.Sprintf("s%02d", i)
		all = append(all, name)
		r.do("POST", "/things/lamp%3A1/shadow?name="+name, `{"state":{}}`)
	}
	r.do("POST", "/things/lamp%3A1/shadow?name=gone", `{"state":{}}`)
	r.do("DELETE", "/things/lamp%3A1/shadow?name=gone", ``) // row 26

	type answer struct {
		Results   []string
		NextToken *string
		Timestamp int64
	}
	for _, c := range []struct {
		query string
		pages []int
	}{
		{"", []int{25, 5}}, {"pageSize=100", []int{30}}, {"pageSize=30", []int{30}}, {"pageSize=10", []int{10, 10, 10}}, // row 22
		{"pageSize=29", []int{29, 1}}, {"pageSize=1", slices.Repeat([]int{1}, 30)},
	} {
		var got []string
		var pages []int
		for query := c.query; ; {
			a := decode[answer](t, r.do("GET", path+"?"+query, ""))
			got, pages = append(got, a.Results...), append(pages, len(a.Results))
			if a.Timestamp != 1700000000 {
				t.Fatalf("timestamp %d", a.Timestamp)
			}
			if a.NextToken == nil {
				break
			}
			query = c.query + "&nextToken=" + *a.NextToken
		}
		if !slices.Equal(got, all) || !slices.Equal(pages, c.pages) {
			t.Fatalf("%s: pages %v with %v, want %v with %v", c.query, pages, got, c.pages, all)
		}
	}
	for _, query := range []string{"pageSize=0", "pageSize=101", "pageSize=-1", "pageSize=x", "pageSize=1e1", "pageSize=99999999999999999999"} {
		wantHTTP(t, r.do("GET", path+"?"+query, ""), 400, "InvalidRequestException", errorBody("Invalid pageSize: use a number from 1 to 100"))
	}
	for _, token := range []string{"x", "%20", "c2", "cnMwMQ" /* of the other list */} {
		wantHTTP(t, r.do("GET", path+"?nextToken="+token, ""), 400, "InvalidRequestException", errorBody("Invalid nextToken: use the one of the page before"))
	}
	r.engine.readErr = errors.New("secret")
	wantHTTP(t, r.do("GET", path, ""), 500, "InternalFailureException", errorBody("Internal service failure"))
}

// TestHandler_on_the_wire goes through a real server: header names as AWS sends
// them, escapes that arrive untouched, a body over the limit that is not read.
func TestHandler_on_the_wire(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	server := httptest.NewServer(r.door.Handler())
	t.Cleanup(server.Close)
	exchange := func(request string) string {
		t.Helper()
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(c)
		var head strings.Builder
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				t.Fatalf("%v after %q", err, head.String())
			}
			head.WriteString(line)
			if line == "\r\n" {
				return head.String()
			}
		}
	}
	got := exchange("GET /things/a%3Ab/shadow HTTP/1.1\r\nHost: x\r\n\r\n")
	if !strings.Contains(got, "\r\nx-amzn-ErrorType: ResourceNotFoundException:\r\n") || !strings.Contains(got, "\r\nx-amzn-RequestId: id-1\r\n") {
		t.Fatalf("head %q", got)
	}
	// Announced and never sent: the answer comes all the same.
	got = exchange("POST /things/a/shadow HTTP/1.1\r\nHost: x\r\nContent-Length: 131073\r\nExpect: 100-continue\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 413 ") || !strings.Contains(got, "x-amzn-ErrorType: RequestEntityTooLargeException:") {
		t.Fatalf("head %q", got)
	}
	// Not announced, and endless.
	chunk := strings.Repeat("x", 1<<16)
	got = exchange("POST /things/a/shadow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" +
		strings.Repeat("10000\r\n"+chunk+"\r\n", 3))
	if !strings.HasPrefix(got, "HTTP/1.1 413 ") {
		t.Fatalf("head %q", got)
	}
	got = exchange("POST /topics/a%2Fb%20c%2f HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
	if !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Fatalf("head %q", got)
	}
	if p := receive(t, r.broker.plain); p.Topic != "a/b c/" || string(p.Payload) != "hi" {
		t.Fatalf("published %+v", p)
	}
}

func TestHandler_body_cut_short(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	req := httptest.NewRequest("POST", "/things/lamp-1/shadow", io.MultiReader(strings.NewReader(`{"state":{}}`), brokenReader{}))
	w := httptest.NewRecorder()
	r.door.Handler().ServeHTTP(w, req)
	wantHTTP(t, w, 400, "InvalidRequestException", errorBody("The body could not be read to its end"))
	if len(r.engine.updates) != 0 {
		t.Fatal("half a body was submitted")
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestHandler_ids: every answer has an id of its own, and errors tell it.
func TestHandler_ids(t *testing.T) {
	d, err := awsiot.New(slog.New(slog.DiscardHandler), awsiot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, awsiot.Options{})
	d.Connect(r.engine, r.broker, r.broker)
	t.Cleanup(d.Close)
	r.door = d
	seen := make(map[string]bool)
	for range 100 {
		w := r.do("GET", "/things/a/shadow", "")
		id := rawHeader(w.Header(), "x-amzn-RequestId")
		if len(id) != 36 || id[14] != '4' || !strings.ContainsRune("89ab", rune(id[19])) || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
		if a := decode[struct{ TraceID string }](t, w); a.TraceID != id {
			t.Fatalf("traceId %q, want %q", a.TraceID, id)
		}
	}
}

func FuzzHandler(f *testing.F) {
	for _, target := range []string{
		"/things/a%3Ab/shadow?name=x", "/topics/a%2Fb?qos=1&retain=true", "/retainedMessage/%00", "/retainedMessage?maxResults=1&nextToken=cg",
		"/api/things/shadow/ListNamedShadowsForThing/a?pageSize=3", "/things/%2e%2e/shadow", "//things//shadow", "/topics/$aws/things/a/shadow/update",
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			f.Add(method, target, `{"state":{"reported":{"a":1}}}`)
		}
	}
	f.Fuzz(func(t *testing.T, method, target, body string) {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			return
		}
		req.Body = io.NopCloser(strings.NewReader(body))
		r := newRig(t, awsiot.Options{})
		w := httptest.NewRecorder()
		r.door.Handler().ServeHTTP(w, req)
		r.door.Close()
		if w.Code >= 500 || w.Code < 200 {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
		if isError := rawHeader(w.Header(), "x-amzn-ErrorType") != ""; isError != (w.Code != 200) {
			t.Fatalf("%s %s: %d with headers %v", method, target, w.Code, w.Header())
		}
		decode[any](t, w)
		for key := range r.engine.shadows {
			if !key.Thing.Valid() || key.Shadow != "" && !key.Shadow.Valid() {
				t.Fatalf("%s %s stored %q", method, target, key)
			}
		}
	})
}
