package awsiot

import (
	"encoding/base64"
	"net/http"
	"strconv"

	"github.com/twofold-iot/twofold/twin"
)

const (
	// Source of the page sizes: AWS IoT API reference, ListNamedShadowsForThing; the
	// default is that of Greengrass.
	shadowPageDefault = 25
	shadowPageMax     = 100

	// idempotencyKeyBytesMax bounds the header Idempotency-Key.
	idempotencyKeyBytesMax = 255
)

// shadow serves GetThingShadow, UpdateThingShadow and DeleteThingShadow.
func (x *exchange) shadow(thing string) {
	t := Topic{Key: twin.ShadowKey{Thing: twin.ThingName(thing)}}
	if names, ok := x.query["name"]; ok {
		// An empty name is refused, not taken for the classic shadow: a client that
		// lost the name must not delete another shadow.
		t.Named, t.Key.Shadow = true, twin.ShadowName(names[0])
	}
	if err := t.Check(); err != nil {
		x.fail(err)
		return
	}
	switch x.r.Method {
	case http.MethodGet:
		x.getShadow(t.Key)
	case http.MethodPost:
		x.updateShadow(t.Key)
	case http.MethodDelete:
		x.submit(twin.Update{Key: t.Key, Delete: true, Request: &twin.Request{}}, nil)
	}
}

func (x *exchange) getShadow(key twin.ShadowKey) {
	d := x.door
	if !d.flights.beginRead(key.Thing) {
		x.fail(errThrottled)
		return
	}
	defer d.flights.endRead(key.Thing)
	s, err := d.read(x.r.Context(), key)
	if err != nil {
		d.report(err, key)
		x.fail(err)
		return
	}
	x.reply(http.StatusOK, twin.AppendGet(nil, s, d.engine.Now(), nil))
}

func (x *exchange) updateShadow(key twin.ShadowKey) {
	body, err := x.body()
	if err != nil {
		x.fail(err)
		return
	}
	req, err := twin.ParseRequest(body, x.door.limits)
	if err != nil {
		x.door.note(key, x.origin(), req, err)
		x.fail(err)
		return
	}
	x.submit(twin.Update{Key: key, Request: req}, body)
}

// submit hands in an update and answers when it is durable. A client that goes
// away in the meantime changes nothing about the update.
func (x *exchange) submit(u twin.Update, body []byte) {
	u.Origin = x.origin()
	// What tells a request that is repeated under its Idempotency-Key from another
	// one under the same key.
	u.Origin.PayloadHash = twin.PayloadHash(x.r.Method+" "+u.Key.String(), body)
	u.IdempotencyKey = x.r.Header.Get("Idempotency-Key")
	if len(u.IdempotencyKey) > idempotencyKeyBytesMax {
		x.fail(invalid("Invalid Idempotency-Key: use at most " + strconv.Itoa(idempotencyKeyBytesMax) + " bytes"))
		return
	}
	outcome := make(chan twin.Result, 1)
	x.door.submit(u, func(r twin.Result) { outcome <- r })
	select {
	case r := <-outcome:
		switch {
		case r.Err != nil:
			x.fail(r.Err)
		case r.Change != nil:
			x.reply(http.StatusOK, r.Change.AppendAccepted(nil))
		default:
			x.reply(http.StatusOK, r.Answer)
		}
	case <-x.r.Context().Done():
	}
}

// listShadows serves ListNamedShadowsForThing: the named shadows that exist, by
// name, without the classic one. A thing nobody knows has none.
func (x *exchange) listShadows(thing string) {
	t := Topic{Key: twin.ShadowKey{Thing: twin.ThingName(thing)}}
	err := t.Check()
	if err != nil {
		x.fail(err)
		return
	}
	size, after, err := x.page("pageSize", shadowPageDefault, shadowPageMax, tokenShadows)
	if err != nil {
		x.fail(err)
		return
	}
	// One more than asked for tells whether there is another page, so a page that is
	// exactly full and the last carries no token.
	names, err := x.door.engine.ShadowNames(x.r.Context(), t.Key.Thing, twin.ShadowName(after), size+1)
	if err != nil {
		x.door.report(err, t.Key)
		x.fail(err)
		return
	}
	answer := struct {
		Results   []twin.ShadowName `json:"results"`
		NextToken string            `json:"nextToken,omitempty"`
		Timestamp int64             `json:"timestamp"`
	}{Results: []twin.ShadowName{}, Timestamp: x.door.engine.Now().Seconds()}
	if len(names) > size {
		names = names[:size]
		answer.NextToken = pageToken(tokenShadows, string(names[size-1]))
	}
	answer.Results = append(answer.Results, names...)
	x.replyJSON(http.StatusOK, answer)
}

// tokenKind marks the list a page token belongs to, so that one of another list,
// or of a later layout, is refused and not misread.
type tokenKind byte

const (
	tokenShadows  tokenKind = 's'
	tokenRetained tokenKind = 'r'
	tokenJobs     tokenKind = 'j'
)

// pageToken returns the opaque token of the page after a key.
func pageToken(kind tokenKind, after string) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{byte(kind)}, after...))
}

// page reads the size of a page and the key it starts after.
func (x *exchange) page(sizeName string, sizeDefault, sizeMax int, kind tokenKind) (size int, after string, err error) {
	size = sizeDefault
	if s := x.query.Get(sizeName); s != "" {
		if size, err = strconv.Atoi(s); err != nil || size < 1 || size > sizeMax {
			return 0, "", invalid("Invalid " + sizeName + ": use a number from 1 to " + strconv.Itoa(sizeMax))
		}
	}
	if s := x.query.Get("nextToken"); s != "" {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || len(b) < 2 || b[0] != byte(kind) {
			return 0, "", invalid("Invalid nextToken: use the one of the page before")
		}
		after = string(b[1:])
	}
	return size, after, nil
}
