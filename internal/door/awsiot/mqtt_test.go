package awsiot_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

const (
	lamp      = "$aws/things/lamp-1/shadow/"
	lampNamed = "$aws/things/lamp-1/shadow/name/cfg/"
)

// TestDoor_conversation is the life of a shadow, document by document, with the
// key order of the captures. Spec §3 to §6.
func TestDoor_conversation(t *testing.T) {
	for _, prefix := range []string{lamp, lampNamed} {
		t.Run(prefix, func(t *testing.T) { conversation(newRig(t, awsiot.Options{}), prefix) })
	}
}

func conversation(r *rig, prefix string) {
	r.t.Helper()
	name := "lamp-1"
	if prefix == lampNamed {
		name = "lamp-1~cfg"
	}
	r.must(prefix+"get", ``)
	r.want(prefix+"get/rejected", `{"code":404,"message":"No shadow exists with name: '`+name+`'"}`)

	r.must(prefix+"update", `{"state":{"reported":{"on":true,"level":40}},"clientToken":"t1"}`)
	r.want(prefix+"update/accepted", `{"state":{"reported":{"on":true,"level":40}},"metadata":{"reported":{"on":{"timestamp":1700000000},"level":{"timestamp":1700000000}}},"version":1,"timestamp":1700000000,"clientToken":"t1"}`)
	r.want(prefix+"update/documents", `{"previous":null,"current":{"state":{"reported":{"on":true,"level":40}},"metadata":{"reported":{"on":{"timestamp":1700000000},"level":{"timestamp":1700000000}}},"version":1},"timestamp":1700000000,"clientToken":"t1"}`)

	r.engine.now += 2000
	r.must(prefix+"update", `{"state":{"desired":{"level":80}},"version":1}`)
	r.want(prefix+"update/accepted", `{"state":{"desired":{"level":80}},"metadata":{"desired":{"level":{"timestamp":1700000002}}},"version":2,"timestamp":1700000002}`)
	r.want(prefix+"update/delta", `{"version":2,"timestamp":1700000002,"state":{"level":80},"metadata":{"level":{"timestamp":1700000002}}}`)
	r.want(prefix+"update/documents", `{"previous":{"state":{"reported":{"on":true,"level":40}},"metadata":{"reported":{"on":{"timestamp":1700000000},"level":{"timestamp":1700000000}}},"version":1},"current":{"state":{"desired":{"level":80},"reported":{"on":true,"level":40}},"metadata":{"desired":{"level":{"timestamp":1700000002}},"reported":{"on":{"timestamp":1700000000},"level":{"timestamp":1700000000}}},"version":2},"timestamp":1700000002}`)

	r.must(prefix+"update", `{"state":{"reported":{"on":false}},"version":1,"clientToken":"t2"}`)
	r.want(prefix+"update/rejected", `{"code":409,"message":"Version conflict","clientToken":"t2"}`)

	r.engine.now += 3000
	r.must(prefix+"get", `{"clientToken":"t3"}`)
	r.want(prefix+"get/accepted", `{"state":{"desired":{"level":80},"reported":{"on":true,"level":40},"delta":{"level":80}},"metadata":{"desired":{"level":{"timestamp":1700000002}},"reported":{"on":{"timestamp":1700000000},"level":{"timestamp":1700000000}}},"version":2,"timestamp":1700000005,"clientToken":"t3"}`)

	r.must(prefix+"delete", `{"clientToken":"t4"}`)
	r.want(prefix+"delete/accepted", `{"version":2,"timestamp":1700000005,"clientToken":"t4"}`)
	r.must(prefix+"delete", `this is ignored`)
	r.want(prefix+"delete/rejected", `{"code":404,"message":"No shadow exists with name: '`+name+`'"}`)
	r.must(prefix+"get", `{}`)
	r.want(prefix+"get/rejected", `{"code":404,"message":"No shadow exists with name: '`+name+`'"}`)

	r.must(prefix+"update", `{"state":{"reported":{"on":true}},"version":3}`)
	m := r.next()
	if m.Topic != prefix+"update/accepted" || !strings.Contains(string(m.Payload), `"version":4,`) {
		r.t.Fatalf("after the delete of version 2: %s %s, want version 4", m.Topic, m.Payload)
	}
	r.next() // documents
	r.quiet()
}

func TestDoor_Publish_hands_the_packet_on(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	p := &twin.Publish{
		Message: twin.Message{Topic: lampNamed + "update", Payload: []byte(`{"state":{}}`)},
		Origin:  twin.Origin{Door: twin.DoorMQTT, Session: "c1", PacketID: 7, PayloadHash: 8},
		Resent:  true,
	}
	if !r.door.Publish(p, func(error) {}) {
		t.Fatal("not taken")
	}
	u := r.engine.updates[0]
	want := twin.ShadowKey{Thing: "lamp-1", Shadow: "cfg"}
	if u.Key != want || u.Origin != p.Origin || !u.Resent || u.Delete || u.IdempotencyKey != "" {
		t.Fatalf("submitted %+v", u)
	}
}

func TestDoor_Publish_ignores_wills(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	p := &twin.Publish{Message: twin.Message{Topic: lamp + "update", Payload: []byte(`{"state":{}}`)}, Will: true}
	if r.door.Publish(p, func(error) { t.Error("done called") }) {
		t.Fatal("a will was taken for an update")
	}
	if len(r.engine.updates) != 0 {
		t.Fatal("a will was submitted")
	}
}

// TestDoor_acknowledges_after_the_outcome: durable first, then acknowledged.
func TestDoor_acknowledges_after_the_outcome(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.engine.hold = true
	acked := r.publish(lamp+"update", `{"state":{}}`)
	select {
	case err := <-acked:
		t.Fatalf("acknowledged with %v before there is an outcome", err)
	default:
	}
	r.engine.settle(1)
	if err := receive(t, acked); err != nil {
		t.Fatal(err)
	}
}

func TestDoor_duplicate_is_acknowledged_silently(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.engine.duplicate = true
	acked := make(chan error, 1)
	p := &twin.Publish{Message: twin.Message{Topic: lamp + "update", Payload: []byte(`{"state":{}}`)}, Resent: true}
	r.door.Publish(p, func(err error) { acked <- err })
	if err := receive(t, acked); err != nil {
		t.Fatal(err)
	}
	r.quiet()
}

// kinds is every error kind with how it is told. Spec §7.
var kinds = []struct {
	kind      twin.ErrorKind
	code      int
	errorType string
	message   string
	acked     bool // the packet is acknowledged
}{
	{twin.KindInvalid, 400, "InvalidRequestException", "some text", true},
	{twin.KindUnauthenticated, 401, "UnauthorizedException", "some text", true},
	{twin.KindDenied, 403, "ForbiddenException", "some text", true},
	{twin.KindNotFound, 404, "ResourceNotFoundException", "some text", true},
	{twin.KindConflict, 409, "ConflictException", "some text", true},
	{twin.KindTooLarge, 413, "RequestEntityTooLargeException", "some text", true},
	{twin.KindEncoding, 415, "UnsupportedDocumentEncodingException", "some text", true},
	{twin.KindThrottled, 429, "ThrottlingException", "some text", true},
	{twin.KindUnavailable, 503, "ServiceUnavailableException", "some text", false},
	{twin.KindFull, 503, "ServiceUnavailableException", "some text", false},
	{twin.KindInternal, 500, "InternalFailureException", "Internal service failure", false},
}

// TestDoor_error_kinds: each kind, from a full queue and from a commit, by MQTT and
// by HTTP.
func TestDoor_error_kinds(t *testing.T) {
	for _, k := range kinds {
		for _, at := range []string{"submit", "commit"} {
			t.Run(fmt.Sprintf("%d %s at %s", k.code, k.errorType, at), func(t *testing.T) {
				r := newRig(t, awsiot.Options{})
				fault := error(&twin.Error{Kind: k.kind, Message: "some text", Err: errors.New("secret")})
				if at == "submit" {
					r.engine.submitErr = fault
				} else {
					r.engine.commitErr = fault
				}
				err := receive(t, r.publish(lamp+"update", `{"state":{},"clientToken":"t"}`))
				if acked := err == nil; acked != k.acked || err != nil && !errors.Is(err, fault) {
					t.Fatalf("done(%v), want acknowledged: %v", err, k.acked)
				}
				r.want(lamp+"update/rejected", fmt.Sprintf(`{"code":%d,"message":"%s","clientToken":"t"}`, k.code, k.message))

				w := r.do("POST", "/things/lamp-1/shadow", `{"state":{}}`)
				wantHTTP(t, w, k.code, k.errorType, errorBody(k.message))
				r.quiet() // an HTTP error publishes nothing

				logged := strings.Count(r.log.String(), "internal error")
				if want := map[bool]int{true: 2}[k.kind == twin.KindInternal]; logged != want {
					t.Fatalf("logged %d times, want %d:\n%s", logged, want, r.log)
				}
			})
		}
	}
}

func TestDoor_InFlightMax(t *testing.T) {
	r := newRig(t, awsiot.Options{InFlightMax: 2})
	r.engine.hold = true
	a := r.publish(lamp+"update", `{"state":{}}`)
	g := r.publish(lamp+"get", `{"clientToken":"g"}`)
	rejected := `{"code":429,"message":"Too many requests","clientToken":"t"}`
	r.must(lamp+"update", `{"state":{},"clientToken":"t"}`)
	r.want(lamp+"update/rejected", rejected)
	r.must(lamp+"get", `{"clientToken":"t"}`)
	r.want(lamp+"get/rejected", rejected)
	r.must(lampNamed+"delete", `{"clientToken":"t"}`) // per thing, not per shadow
	r.want(lampNamed+"delete/rejected", rejected)
	wantHTTP(t, r.do("POST", "/things/lamp-1/shadow", `{"state":{}}`), 429, "ThrottlingException", errorBody("Too many requests"))
	wantHTTP(t, r.do("GET", "/things/lamp-1/shadow", ``), 429, "ThrottlingException", errorBody("Too many requests"))
	wantHTTP(t, r.do("GET", "/things/lamp-2/shadow", ``), 404, "ResourceNotFoundException", errorBody("No shadow exists with name: 'lamp-2'"))
	r.engine.settle(1)
	for _, acked := range []<-chan error{a, g} {
		if err := receive(t, acked); err != nil {
			t.Fatal(err)
		}
	}
	r.engine.hold = false
	for range 10 {
		r.must(lamp+"update", `{"state":{}}`)
		if w := r.do("GET", "/things/lamp-1/shadow", ``); w.Code != 200 {
			t.Fatalf("the count leaked: %d %s", w.Code, w.Body)
		}
	}
}

// TestDoor_payload_limit: 413 beyond 128 KiB, by MQTT and HTTP.
func TestDoor_payload_limit(t *testing.T) {
	const bytesMax = 128 << 10
	const message = "The payload exceeds the maximum size allowed"
	fit := `{"state":{},"x":"` + strings.Repeat("x", bytesMax-19) + `"}` // ignored content counts
	if len(fit) != bytesMax {
		t.Fatalf("%d bytes", len(fit))
	}
	r := newRig(t, awsiot.Options{})
	r.must(lamp+"update", fit)
	r.next() // accepted
	r.next() // documents
	r.must(lamp+"update", fit+" ")
	r.want(lamp+"update/rejected", `{"code":413,"message":"`+message+`"}`)
	if w := r.do("POST", "/things/lamp-1/shadow", fit); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	r.next()
	r.next()
	wantHTTP(t, r.do("POST", "/things/lamp-1/shadow", fit+" "), 413, "RequestEntityTooLargeException", errorBody(message))
	wantHTTP(t, r.do("POST", "/topics/a", fit+" "), 413, "RequestEntityTooLargeException", errorBody(message))
	r.quiet()
}

// TestDoor_builds_nothing_unwanted: without subscribers a change and its request
// cost this door no documents; the allocations left are the engine's and the two
// functions that carry the answer.
func TestDoor_builds_nothing_unwanted(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.broker.all = false
	r.must(lamp+"update", `{"state":{"reported":{"on":true}}}`)
	r.must(lamp+"update", `{"state":{"desired":{"on":false}}}`)
	r.must(lamp+"update", `not json`)
	r.must(lamp+"get", ``)
	r.must(lamp+"delete", ``)
	r.quiet()
	if r.engine.reads != 0 {
		t.Fatal("a get that nobody listens to was read")
	}
	r.broker.topics[lamp+"update/delta"] = true
	r.must(lamp+"update", `{"state":{"desired":{"on":true}},"clientToken":"t"}`)
	if m := r.next(); m.Topic != lamp+"update/delta" {
		t.Fatalf("sent %s", m.Topic)
	}
	r.must(lamp+"update", `{"state":{"reported":{"on":true}},"clientToken":"t"}`) // no delta is left
	r.quiet()
}

func TestDoor_Stage_allocates_nothing_without_subscribers(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector a sync.Pool drops things at random")
	}
	r := newRig(t, awsiot.Options{})
	r.broker.all = false
	lim := twin.Limits{}.WithDefaults()
	req, err := twin.ParseRequest([]byte(`{"state":{"desired":{"on":true}}}`), lim)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []twin.ShadowKey{{Thing: "lamp-1"}, {Thing: "lamp-1", Shadow: "config"}} {
		c, err := twin.NewChange(key, nil, req, startTime, lim)
		if err != nil {
			t.Fatal(err)
		}
		asked := r.broker.asked
		n := testing.AllocsPerRun(200, func() {
			if out := r.door.Stage(c); out != nil {
				t.Fatal("something was staged")
			}
		})
		if n != 0 {
			t.Fatalf("%v allocations, want 0", n)
		}
		if r.broker.asked == asked {
			t.Fatal("nobody was asked")
		}
	}
}

// TestDoor_Publish_allocations holds the request path to what carries the answer: a
// function for the engine and one for this door.
func TestDoor_Publish_allocations(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector a sync.Pool drops things at random")
	}
	r := newRig(t, awsiot.Options{})
	r.engine.duplicate = true
	r.broker.all = false
	payload := []byte(`{"state":{"reported":{"on":true}}}`)
	p := &twin.Publish{Message: twin.Message{Topic: lamp + "update", Payload: payload}}
	parse := testing.AllocsPerRun(200, func() {
		if _, err := twin.ParseRequest(payload, twin.Limits{}); err != nil {
			t.Fatal(err)
		}
	})
	n := testing.AllocsPerRun(200, func() { r.door.Publish(p, func(error) {}) })
	if n-parse > 2 {
		t.Fatalf("%v allocations beside the parser's %v, want at most 2", n-parse, parse)
	}
}

// TestDoor_concurrent lets many connections at it at once; the race detector and
// the leak check watch.
func TestDoor_concurrent(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.broker.all = false
	r.broker.topics[lamp+"get/accepted"] = true
	var wg sync.WaitGroup
	const clients, rounds = 8, 100
	for range clients {
		wg.Go(func() {
			for range rounds {
				var acks [3]chan error
				for i, op := range []string{"update", "get", "update"} {
					acks[i] = make(chan error, 1)
					p := &twin.Publish{Message: twin.Message{Topic: lamp + op, Payload: []byte(`{"state":{"reported":{"n":1}}}`)}}
					r.door.Publish(p, func(err error) { acks[i] <- err })
				}
				for _, a := range acks {
					if err := <-a; err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := len(r.broker.sent); got != clients*rounds {
		t.Fatalf("%d answers, want %d", got, clients*rounds)
	}
}

func TestOptions_Validate(t *testing.T) {
	for _, o := range []awsiot.Options{{PayloadBytesMax: -1}, {InFlightMax: -1}, {GetWorkers: -1}, {GetQueueLenMax: -1}} {
		if _, err := awsiot.New(nil, o); err == nil {
			t.Errorf("New(%+v): no error", o)
		}
	}
}
