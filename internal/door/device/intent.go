package device

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// Intents takes what devices say of what is asked of them.
type Intents interface {
	// IntentAnswered never blocks; done is called unless there is an error.
	IntentAnswered(key twin.ShadowKey, v twin.Version, status, message string, o twin.Origin, done func(error)) error
}

// IntentDoor takes the answers of devices on twins/{thing}/intents/{version}/status, the version
// being that of the delta.
type IntentDoor struct {
	intents    Intents
	rejections Rejections
}

// NewIntents returns the door.
func NewIntents(i Intents, r Rejections) *IntentDoor { return &IntentDoor{i, r} }

// Publish takes a message if it is for this door. As with commands, an answer that makes no
// sense, comes too late or is for nothing is acknowledged, and noted.
func (d *IntentDoor) Publish(p *twin.Publish, done func(error)) bool {
	thing, text, ok := intentTopic(p.Topic)
	if !ok {
		return false
	}
	key := twin.ShadowKey{Thing: thing}
	if !thing.Valid() {
		done(twin.NewError(twin.KindInvalid, fmt.Sprintf("%q is no thing name", thing)))
		return true
	}
	refuse := func(err error) {
		d.rejections.Reject(key, p.Origin, text, err)
		done(nil)
	}
	version, err := strconv.ParseUint(strings.TrimPrefix(text, "v"), 10, 63)
	if err != nil {
		refuse(twin.NewError(twin.KindInvalid, fmt.Sprintf("An answer is for a version such as 12, the one of the delta, not %.40q", text)))
		return true
	}
	a, err := parseIntentAnswer(p.Payload)
	if err != nil {
		refuse(err)
		return true
	}
	key.Shadow = a.Shadow
	err = d.intents.IntentAnswered(key, twin.Version(version), a.Status, a.Message, p.Origin, func(err error) {
		if twin.Kind(err) == twin.KindNotFound && err != nil {
			refuse(err)
			return
		}
		done(err)
	})
	if err != nil {
		done(err)
	}
	return true
}

const (
	intentsLevel         = "/intents/"
	intentAnswerBytesMax = 4 << 10
)

// intentTopic takes a topic twins/{thing}/intents/{version}/status apart.
func intentTopic(topic string) (thing twin.ThingName, version string, ok bool) {
	rest, ok := strings.CutPrefix(topic, prefix)
	if !ok {
		return "", "", false
	}
	if rest, ok = strings.CutSuffix(rest, statusLevel); !ok {
		return "", "", false
	}
	name, version, ok := strings.Cut(rest, intentsLevel)
	if !ok || strings.Contains(name, "/") || strings.Contains(version, "/") {
		return "", "", false
	}
	return twin.ThingName(name), version, true
}

type intentAnswer struct {
	Status  string          `json:"status"`
	Message string          `json:"message"`
	Shadow  twin.ShadowName `json:"shadow"`
}

// intentStatuses are what a device can say. That it has applied what is asked it says in
// reported.
var intentStatuses = map[string]bool{"accepted": true, "in_progress": true, "rejected": true}

func parseIntentAnswer(body []byte) (a intentAnswer, err error) {
	if len(body) > intentAnswerBytesMax {
		return a, twin.NewError(twin.KindTooLarge, fmt.Sprintf("An answer is at most %d bytes", intentAnswerBytesMax))
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return a, twin.NewError(twin.KindInvalid, `An answer is such as {"status":"rejected","message":"out of range"}: `+err.Error())
	}
	switch {
	case d.More():
		return a, twin.NewError(twin.KindInvalid, "There is more after the answer")
	case !intentStatuses[a.Status]:
		return a, twin.NewError(twin.KindInvalid, fmt.Sprintf("The status %.40q is none of accepted, in_progress, rejected; what is applied a device reports", a.Status))
	case a.Shadow != "" && !a.Shadow.Valid():
		return a, twin.NewError(twin.KindInvalid, fmt.Sprintf("%.70q is no name of a shadow", a.Shadow))
	}
	return a, nil
}
