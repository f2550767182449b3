package awsiot

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twofold-iot/twofold/twin"
)

const (
	// Source: AWS IoT API reference, ListRetainedMessages. It names no default; this
	// is that of the other list.
	retainedPageDefault = 25
	retainedPageMax     = 200

	// mqttStringBytesMax is the longest string of an MQTT packet (MQTT 5, 1.5.4).
	mqttStringBytesMax = 65535

	// userPropertiesMax bounds the user properties of one publish.
	userPropertiesMax = 256
)

// publish serves Publish: the message goes through the broker as if a client had
// published it. A shadow request sent this way is answered on its MQTT topics, and
// HTTP 200 says that it has been dealt with.
func (x *exchange) publish(topic string) {
	p, err := x.publishRequest(topic)
	if err == nil {
		p.Payload, err = x.body()
	}
	if err == nil && p.Properties != nil && p.Properties.PayloadFormat == 1 && !utf8.Valid(p.Payload) {
		// [MQTT-3.3.2-4]
		err = invalid("The payload is not UTF-8, but x-amz-mqtt5-payload-format-indicator says UTF8_DATA")
	}
	if err != nil {
		x.fail(err)
		return
	}
	outcome := make(chan error, 1)
	x.door.broker.Publish(p, func(err error) { outcome <- err })
	select {
	case err := <-outcome:
		if err != nil {
			if twin.Kind(err) == twin.KindInternal {
				x.door.log.Error("publish ended in an internal error", "topic", topic, "error", err)
			}
			x.fail(err)
			return
		}
		x.replyJSON(http.StatusOK, struct {
			Message string `json:"message"`
			TraceID string `json:"traceId"`
		}{"OK", x.id})
	case <-x.r.Context().Done():
	}
}

// publishRequest reads everything of a Publish but its body.
func (x *exchange) publishRequest(topic string) (*twin.Publish, error) {
	if err := checkTopic("topic", topic); err != nil {
		return nil, err
	}
	p := &twin.Publish{Message: twin.Message{Topic: topic}, Origin: x.origin()}
	switch x.query.Get("qos") {
	case "", "0":
	case "1":
		p.QoS = 1
	default:
		return nil, invalid("Invalid qos: use 0 or 1")
	}
	switch x.query.Get("retain") {
	case "", "false":
	case "true":
		p.Retain = true
	default:
		return nil, invalid("Invalid retain: use true or false")
	}
	var err error
	p.Properties, err = x.properties()
	return p, err
}

// properties reads the MQTT 5 properties of a Publish; nil when there are none.
func (x *exchange) properties() (*twin.MessageProperties, error) {
	var m twin.MessageProperties
	var set bool
	m.ContentType = x.query.Get("contentType")
	if err := checkString("contentType", m.ContentType); err != nil {
		return nil, err
	}
	m.ResponseTopic = x.query.Get("responseTopic")
	if m.ResponseTopic != "" {
		if err := checkTopic("responseTopic", m.ResponseTopic); err != nil { // [MQTT-3.3.2-14]
			return nil, err
		}
	}
	set = m.ContentType != "" || m.ResponseTopic != ""
	if s := x.query.Get("messageExpiry"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return nil, invalid("Invalid messageExpiry: use seconds from 0 to 4294967295")
		}
		m.ExpirySeconds, set = uint32(n), true
	}
	switch x.r.Header.Get("x-amz-mqtt5-payload-format-indicator") {
	case "", "UNSPECIFIED_BYTES":
	case "UTF8_DATA":
		m.PayloadFormat, set = 1, true
	default:
		return nil, invalid("Invalid x-amz-mqtt5-payload-format-indicator: use UTF8_DATA or UNSPECIFIED_BYTES")
	}
	if s := x.r.Header.Get("x-amz-mqtt5-correlation-data"); s != "" {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(b) > mqttStringBytesMax {
			return nil, invalid("Invalid x-amz-mqtt5-correlation-data: use base64 of at most 65535 bytes")
		}
		m.CorrelationData, set = b, true
	}
	if s := x.r.Header.Get("x-amz-mqtt5-user-properties"); s != "" {
		users, err := parseUserProperties(s)
		if err != nil {
			return nil, &twin.Error{
				Kind: twin.KindInvalid, Err: err,
				Message: `Invalid x-amz-mqtt5-user-properties: use base64 of a JSON array like [{"key":"value"}]`,
			}
		}
		m.User, set = users, true
	}
	if !set {
		return nil, nil
	}
	return &m, nil
}

// checkTopic refuses what no PUBLISH may carry as a topic [MQTT-3.3.2-2].
func checkTopic(name, topic string) error {
	if topic == "" || strings.ContainsAny(topic, "+#") {
		return invalid("Invalid " + name + ": use at least one character and no '+' or '#'")
	}
	return checkString(name, topic)
}

// checkString refuses what is not a UTF-8 encoded string of MQTT [MQTT-1.5.4-1],
// [MQTT-1.5.4-2].
func checkString(name, s string) error {
	if len(s) > mqttStringBytesMax || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return invalid("Invalid " + name + ": use at most 65535 bytes of UTF-8 without NUL")
	}
	return nil
}

// parseUserProperties reads base64 of [{"key":"value"}, …]. Keys may repeat and
// order counts, so it goes token by token.
func parseUserProperties(s string) ([]twin.UserProperty, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(b) {
		return nil, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := wantDelim(dec, '['); err != nil {
		return nil, err
	}
	var users []twin.UserProperty
	for dec.More() {
		if err := wantDelim(dec, '{'); err != nil {
			return nil, err
		}
		for dec.More() {
			var u twin.UserProperty
			if u.Key, err = wantString(dec); err == nil {
				u.Value, err = wantString(dec)
			}
			if err != nil {
				return nil, err
			}
			if users = append(users, u); len(users) > userPropertiesMax {
				return nil, errors.New("more than " + strconv.Itoa(userPropertiesMax))
			}
		}
		if err := wantDelim(dec, '}'); err != nil {
			return nil, err
		}
	}
	if err := wantDelim(dec, ']'); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more after the array")
	}
	return users, nil
}

func wantDelim(dec *json.Decoder, d json.Delim) error {
	t, err := dec.Token()
	if err == nil && t != d {
		err = errors.New("want " + d.String())
	}
	return err
}

func wantString(dec *json.Decoder) (string, error) {
	t, err := dec.Token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", errors.New("want a string")
	}
	return s, checkString("user property", s)
}

// formatUserProperties is the reverse of parseUserProperties, without the base64.
func formatUserProperties(users []twin.UserProperty) []byte {
	b := []byte{'['}
	for i, u := range users {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = appendQuoted(b, u.Key)
		b = append(b, ':')
		b = appendQuoted(b, u.Value)
		b = append(b, '}')
	}
	return append(b, ']')
}

// retained serves GetRetainedMessage. Its times are milliseconds, unlike those of
// shadows.
func (x *exchange) retained(topic string) {
	if err := checkTopic("topic", topic); err != nil {
		x.fail(err)
		return
	}
	m, ok := x.door.retained.Retained(topic)
	if !ok {
		x.fail(twin.NewError(twin.KindNotFound, "No retained message exists for topic: '"+topic+"'"))
		return
	}
	answer := struct {
		Topic          string `json:"topic"`
		Payload        []byte `json:"payload"`
		QoS            byte   `json:"qos"`
		Modified       int64  `json:"lastModifiedTime"`
		UserProperties []byte `json:"userProperties,omitempty"`
	}{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Modified: int64(m.Modified)}
	if answer.Payload == nil {
		answer.Payload = []byte{}
	}
	if m.Properties != nil && len(m.Properties.User) > 0 {
		answer.UserProperties = formatUserProperties(m.Properties.User)
	}
	x.replyJSON(http.StatusOK, answer)
}

// listRetained serves ListRetainedMessages: by topic, without the payloads.
func (x *exchange) listRetained() {
	size, after, err := x.page("maxResults", retainedPageDefault, retainedPageMax, tokenRetained)
	if err != nil {
		x.fail(err)
		return
	}
	type summary struct {
		Topic       string `json:"topic"`
		PayloadSize int    `json:"payloadSize"`
		QoS         byte   `json:"qos"`
		Modified    int64  `json:"lastModifiedTime"`
	}
	answer := struct {
		Topics    []summary `json:"retainedTopics"`
		NextToken string    `json:"nextToken,omitempty"`
	}{Topics: []summary{}}
	for i, m := range x.door.retained.ListRetained(after, size+1) {
		if i == size {
			answer.NextToken = pageToken(tokenRetained, answer.Topics[size-1].Topic)
			break
		}
		answer.Topics = append(answer.Topics, summary{m.Topic, len(m.Payload), m.QoS, int64(m.Modified)})
	}
	x.replyJSON(http.StatusOK, answer)
}
