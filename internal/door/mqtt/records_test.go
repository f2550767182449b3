package mqtt

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twofold-iot/twofold/twin"
)

// FuzzRecord: what reads as a message is written to the same bytes, and nothing
// makes the reader panic.
func FuzzRecord(f *testing.F) {
	plain := &message{Message: twin.Message{Topic: "a/b", Payload: []byte("x"), QoS: 1}}
	full := &message{expiresAt: 1795379131000, Message: twin.Message{Topic: "ü", Properties: &twin.MessageProperties{
		PayloadFormat: 1, ExpirySeconds: 300, ContentType: "text/plain", ResponseTopic: "r", CorrelationData: []byte{0},
		User: []twin.UserProperty{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}},
	}}}
	f.Add(appendBody(nil, plain))
	f.Add(appendBody(nil, full))
	f.Add([]byte{recordFormat})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := reader{b: raw}
		m := r.message()
		if r.bad {
			return
		}
		again := reader{b: appendBody(nil, m)}
		m2 := again.message()
		if again.bad {
			t.Fatalf("% x is not read again", raw)
		}
		if d := cmp.Diff(m, m2, cmp.AllowUnexported(message{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}
