package awsiot_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v in %d %q", err, w.Code, w.Body)
	}
	return v
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

const published = `{"message":"OK","traceId":"id-1"}`

func TestHandler_Publish(t *testing.T) {
	origin := twin.Origin{Door: twin.DoorAWS, Session: "192.0.2.1"}
	for _, c := range []struct {
		target string
		header []string
		want   twin.Message
	}{
		{"/topics/a", nil, twin.Message{Topic: "a"}},
		{"/topics/a%2Fb%20c", nil, twin.Message{Topic: "a/b c"}},
		{"/topics/a/b%20c", nil, twin.Message{Topic: "a/b c"}},
		{"/topics/%2Fa%2F", nil, twin.Message{Topic: "/a/"}},
		{"/topics//a/", nil, twin.Message{Topic: "/a/"}},
		{"/topics/a%252Fb", nil, twin.Message{Topic: "a%2Fb"}},
		{"/topics/%C3%A4", nil, twin.Message{Topic: "ä"}},
		{"/topics/a/../b", nil, twin.Message{Topic: "a/../b"}},
		{"/topics/a?qos=0&retain=false", nil, twin.Message{Topic: "a"}},
		{"/topics/a?qos=1&retain=true", nil, twin.Message{Topic: "a", QoS: 1, Retain: true}},
		{
			"/topics/a?contentType=text%2Fplain&responseTopic=r%2Fs&messageExpiry=60",
			[]string{
				"x-amz-mqtt5-payload-format-indicator", "UTF8_DATA",
				"x-amz-mqtt5-correlation-data", b64("\x00\x01"),
				"x-amz-mqtt5-user-properties", b64(`[{"k":"v"},{"k":"w","l":"ü"},{}]`),
			},
			twin.Message{Topic: "a", Properties: &twin.MessageProperties{
				PayloadFormat: 1, ExpirySeconds: 60, ContentType: "text/plain", ResponseTopic: "r/s", CorrelationData: []byte{0, 1},
				User: []twin.UserProperty{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}, {Key: "l", Value: "ü"}},
			}},
		},
		{"/topics/a", []string{"x-amz-mqtt5-payload-format-indicator", "UNSPECIFIED_BYTES"}, twin.Message{Topic: "a"}},
	} {
		t.Run(c.target, func(t *testing.T) {
			r := newRig(t, awsiot.Options{})
			wantHTTP(t, r.do("POST", c.target, "hi", c.header...), 200, "", published)
			c.want.Payload = []byte("hi")
			want := twin.Publish{Message: c.want, Origin: origin}
			if diff := cmp.Diff(want, receive(t, r.broker.plain)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestHandler_Publish_refuses(t *testing.T) {
	const topic = "Invalid topic: use at least one character and no '+' or '#'"
	const topicText = "Invalid topic: use at most 65535 bytes of UTF-8 without NUL"
	const users = `Invalid x-amz-mqtt5-user-properties: use base64 of a JSON array like [{\"key\":\"value\"}]`
	const usersHeader = "x-amz-mqtt5-user-properties"
	r := newRig(t, awsiot.Options{})
	for _, c := range []struct {
		target, message string
		header          []string
	}{
		{"/topics/", topic, nil},
		{"/topics/a%2B", topic, nil},
		{"/topics/+/a", topic, nil},
		{"/topics/a/%23", topic, nil},
		{"/topics/a%00b", topicText, nil},
		{"/topics/a%FFb", topicText, nil},
		{"/topics/" + strings.Repeat("x", 65536), topicText, nil},
		{"/topics/a?qos=2", "Invalid qos: use 0 or 1", nil},
		{"/topics/a?qos=-1", "Invalid qos: use 0 or 1", nil},
		{"/topics/a?retain=yes", "Invalid retain: use true or false", nil},
		{"/topics/a?messageExpiry=-1", "Invalid messageExpiry: use seconds from 0 to 4294967295", nil},
		{"/topics/a?messageExpiry=4294967296", "Invalid messageExpiry: use seconds from 0 to 4294967295", nil},
		{"/topics/a?responseTopic=a%2F%23", "Invalid responseTopic: use at least one character and no '+' or '#'", nil},
		{"/topics/a?contentType=%FF", "Invalid contentType: use at most 65535 bytes of UTF-8 without NUL", nil},
		{"/topics/a", "Invalid x-amz-mqtt5-payload-format-indicator: use UTF8_DATA or UNSPECIFIED_BYTES", []string{"x-amz-mqtt5-payload-format-indicator", "1"}},
		{"/topics/a", "The payload is not UTF-8, but x-amz-mqtt5-payload-format-indicator says UTF8_DATA", []string{"x-amz-mqtt5-payload-format-indicator", "UTF8_DATA"}},
		{"/topics/a", "Invalid x-amz-mqtt5-correlation-data: use base64 of at most 65535 bytes", []string{"x-amz-mqtt5-correlation-data", "?"}},
		{"/topics/a", users, []string{usersHeader, `[{"k":"v"}]`}},
		{"/topics/a", users, []string{usersHeader, b64(" ")}},
		{"/topics/a", users, []string{usersHeader, b64(`{"k":"v"}`)}},
		{"/topics/a", users, []string{usersHeader, b64(`["k","v"]`)}},
		{"/topics/a", users, []string{usersHeader, b64(`[{"k":1}]`)}},
		{"/topics/a", users, []string{usersHeader, b64(`[{"k":{}}]`)}},
		{"/topics/a", users, []string{usersHeader, b64(`[{"k":"v"}`)}},
		{"/topics/a", users, []string{usersHeader, b64(`[{"k":"v"}] x`)}},
		{"/topics/a", users, []string{usersHeader, b64("[{\"k\":\"\xff\"}]")}},
		{"/topics/a", users, []string{usersHeader, b64(`[{"k":"\u0000"}]`)}},
		{"/topics/a", users, []string{usersHeader, b64("[" + strings.Repeat(`{"k":"v"},`, 256) + `{"k":"v"}]`)}},
	} {
		w := r.do("POST", c.target, "\xff", c.header...)
		wantHTTP(t, w, 400, "InvalidRequestException", errorBody(c.message))
	}
	if len(r.broker.plain) != 0 {
		t.Fatal("something was published")
	}
	for _, topic := range notRequests {
		w := r.do("POST", "/topics/"+escapeAll(topic), "x")
		if w.Code != 403 || rawHeader(w.Header(), "x-amzn-ErrorType") != "ForbiddenException:" {
			t.Errorf("publish to %s: %d %s", topic, w.Code, w.Body)
		}
	}
}

// TestHandler_Publish_shadow_request: an update sent by the Publish operation goes
// the way of one sent by MQTT, rejections included.
func TestHandler_Publish_shadow_request(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	wantHTTP(t, r.do("POST", "/topics/"+escapeAll(lamp+"update"), `{"state":{}}`), 200, "", published)
	r.want(lamp+"update/accepted", `{"state":{},"metadata":{},"version":1,"timestamp":1700000000}`)
	r.next()
	wantHTTP(t, r.do("POST", "/topics/"+lamp+"update", `{"state":1}`), 200, "", published)
	r.want(lamp+"update/rejected", `{"code":400,"message":"State node must be an object"}`)
	r.engine.submitErr = twin.NewError(twin.KindFull, "The queue is full")
	wantHTTP(t, r.do("POST", "/topics/"+lamp+"update", `{"state":{}}`), 503, "ServiceUnavailableException", errorBody("The queue is full"))
}

func TestHandler_Publish_faults(t *testing.T) {
	for _, k := range kinds {
		r := newRig(t, awsiot.Options{})
		r.broker.fault = &twin.Error{Kind: k.kind, Message: "some text", Err: errors.New("secret")}
		wantHTTP(t, r.do("POST", "/topics/a", "x"), k.code, k.errorType, errorBody(k.message))
		if logged := strings.Contains(r.log.String(), "secret"); logged != (k.kind == twin.KindInternal) {
			t.Errorf("%s: logged %v", k.errorType, logged)
		}
	}
}

func TestHandler_GetRetainedMessage(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	r.broker.retained = []awsiot.RetainedMessage{
		{Message: twin.Message{Topic: "a/b c", Payload: []byte("hi\xff"), QoS: 1, Retain: true}, Modified: 1700000000123},
		{Message: twin.Message{Topic: "p", Payload: []byte("x"), Properties: &twin.MessageProperties{
			User: []twin.UserProperty{{Key: "k", Value: "v"}, {Key: "k", Value: "<w>\""}},
		}}, Modified: 1},
	}
	const want = `{"topic":"a/b c","payload":"aGn/","qos":1,"lastModifiedTime":1700000000123}`
	wantHTTP(t, r.do("GET", "/retainedMessage/a%2Fb%20c", ""), 200, "", want)
	wantHTTP(t, r.do("GET", "/retainedMessage/a/b%20c", ""), 200, "", want)
	a := decode[struct{ UserProperties []byte }](t, r.do("GET", "/retainedMessage/p", ""))
	var users []map[string]string
	if err := json.Unmarshal(a.UserProperties, &users); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]string{{"k": "v"}, {"k": `<w>"`}}, users); diff != "" {
		t.Fatal(diff)
	}
	wantHTTP(t, r.do("GET", "/retainedMessage/none", ""), 404, "ResourceNotFoundException", errorBody("No retained message exists for topic: 'none'"))
	wantHTTP(t, r.do("GET", "/retainedMessage/", ""), 400, "InvalidRequestException", errorBody("Invalid topic: use at least one character and no '+' or '#'"))
	wantHTTP(t, r.do("GET", "/retainedMessage/a%2F%23", ""), 400, "InvalidRequestException", errorBody("Invalid topic: use at least one character and no '+' or '#'"))
}

func TestHandler_ListRetainedMessages(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	wantHTTP(t, r.do("GET", "/retainedMessage", ""), 200, "", `{"retainedTopics":[]}`)
	var all []string
	for i := range 30 {
		topic := fmt.Sprintf("t/%02d", i)
		all = append(all, topic)
		r.broker.retained = append(r.broker.retained, awsiot.RetainedMessage{
			Message: twin.Message{Topic: topic, Payload: []byte("hi"), QoS: 1}, Modified: 1700000000123,
		})
	}
	wantHTTP(t, r.do("GET", "/retainedMessage?maxResults=1", ""), 200, "",
		`{"retainedTopics":[{"topic":"t/00","payloadSize":2,"qos":1,"lastModifiedTime":1700000000123}],"nextToken":"cnQvMDA"}`)
	type answer struct {
		RetainedTopics []struct{ Topic string }
		NextToken      *string
	}
	for _, c := range []struct {
		query string
		pages []int
	}{{"", []int{25, 5}}, {"maxResults=200", []int{30}}, {"maxResults=15", []int{15, 15}}, {"maxResults=7", []int{7, 7, 7, 7, 2}}} {
		var got []string
		var pages []int
		for query := c.query; ; {
			a := decode[answer](t, r.do("GET", "/retainedMessage?"+query, ""))
			for _, m := range a.RetainedTopics {
				got = append(got, m.Topic)
			}
			pages = append(pages, len(a.RetainedTopics))
			if a.NextToken == nil {
				break
			}
			query = c.query + "&nextToken=" + *a.NextToken
		}
		if !slices.Equal(got, all) || !slices.Equal(pages, c.pages) {
			t.Fatalf("%s: pages %v with %v, want %v with %v", c.query, pages, got, c.pages, all)
		}
	}
	for _, query := range []string{"maxResults=0", "maxResults=201", "maxResults=x"} {
		wantHTTP(t, r.do("GET", "/retainedMessage?"+query, ""), 400, "InvalidRequestException", errorBody("Invalid maxResults: use a number from 1 to 200"))
	}
	wantHTTP(t, r.do("GET", "/retainedMessage?nextToken=c2E", ""), 400, "InvalidRequestException", errorBody("Invalid nextToken: use the one of the page before"))
}
