package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/twofold-iot/twofold/internal/wire"
)

// Markers in a payload that are patched for each update. Both have a fixed
// width, and stay JSON numbers without a leading zero whatever is patched in.
const (
	SeqMarker   = "1000000000" // becomes 1000000000 + number of the update of this thing
	ValueMarker = "20.00"      // becomes 20.00 to 29.99, another one each time
)

// SeqBase is what a payload's sequence field says for update number 0.
const SeqBase = 1_000_000_000

// Reported200 is a reported update of about 200 bytes in seven attributes.
const Reported200 = `{"state":{"reported":{"seq":1000000000,"temperature":20.00,"humidity":48.2,` +
	`"mode":"auto","fan":{"on":true,"speed":3},"firmware":"2.14.0-rc3","uptime":86400,` +
	`"network":{"rssi":-61,"ssid":"plant-7"}}}}`

// Reported3 is a reported update of three attributes.
const Reported3 = `{"state":{"reported":{"seq":1000000000,"temperature":20.00,"on":true}}}`

// template is a QoS 1 PUBLISH to $aws/things/<prefix>NNNNNNN/shadow/update,
// encoded once.
type template struct {
	packet           []byte
	idAt             int // two bytes, packet identifier
	thingAt          int // thingDigits digits
	seqAt            int // ten digits
	valueAt          int // at the digit after "2"; -1 if there is no such field
	payloadAt, bytes int
}

const (
	thingDigits  = 7
	thingsMax    = 10_000_000
	seqDigits    = len(SeqMarker)
	topicPrefix  = "$aws/things/"
	topicSuffix  = "/shadow/update"
	remainingMax = 16_383
)

// ThingName returns the name of thing number i.
func ThingName(prefix string, i int) string {
	return fmt.Sprintf("%s%0*d", prefix, thingDigits, i)
}

func newTemplate(prefix, payload string) (*template, error) {
	if strings.Count(payload, SeqMarker) != 1 {
		return nil, fmt.Errorf("payload must contain %s once", SeqMarker)
	}
	topic := topicPrefix + ThingName(prefix, 0) + topicSuffix
	remaining := 2 + len(topic) + 2 + len(payload)
	if remaining > remainingMax {
		return nil, fmt.Errorf("packet of %d bytes, at most %d", remaining, remainingMax)
	}
	var p []byte
	p = append(p, wire.Publish|wire.FlagQoS1)
	p = wire.AppendRemaining(p, remaining)
	p = wire.AppendString(p, topic)
	t := &template{idAt: len(p), thingAt: bytes.Index(p, []byte(topicPrefix)) + len(topicPrefix) + len(prefix)}
	p = append(p, 0, 0)
	t.payloadAt = len(p)
	p = append(p, payload...)
	t.packet, t.bytes = p, len(payload)
	t.seqAt = t.payloadAt + strings.Index(payload, SeqMarker)
	t.valueAt = -1
	if i := strings.Index(payload, ValueMarker); i >= 0 {
		t.valueAt = t.payloadAt + i + 1
	}
	return t, nil
}

// append appends the packet for update seq of a thing. It does not allocate when
// dst has room.
func (t *template) append(dst []byte, id uint16, thing, seq int) []byte {
	at := len(dst)
	dst = append(dst, t.packet...)
	p := dst[at:]
	binary.BigEndian.PutUint16(p[t.idAt:], id)
	putDigits(p[t.thingAt:t.thingAt+thingDigits], thing)
	putDigits(p[t.seqAt:t.seqAt+seqDigits], SeqBase+seq)
	if t.valueAt >= 0 {
		v := (seq*7 + thing) % 1000
		p[t.valueAt] = byte('0' + v/100)
		p[t.valueAt+2] = byte('0' + v/10%10)
		p[t.valueAt+3] = byte('0' + v%10)
	}
	return dst
}

func putDigits(p []byte, n int) {
	for i := len(p) - 1; i >= 0; i-- {
		p[i] = byte('0' + n%10)
		n /= 10
	}
}

var errNotPuback = errors.New("not a PUBACK")

const pubackLen = 4

// puback decodes a whole PUBACK and returns its packet identifier.
func puback(p []byte) (uint16, error) {
	if p[0] != wire.Puback || p[1] != 2 {
		return 0, fmt.Errorf("%w: packet begins with %#x %#x", errNotPuback, p[0], p[1])
	}
	return binary.BigEndian.Uint16(p[2:]), nil
}
