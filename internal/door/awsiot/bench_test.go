package awsiot_test

import (
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

// silentBroker has no subscribers, or one for every topic.
type silentBroker struct{ wanted bool }

func (b silentBroker) Wanted([]byte) bool                                 { return b.wanted }
func (b silentBroker) Stage([]twin.Message) twin.Outgoing                 { return nil }
func (b silentBroker) Send(twin.Message)                                  {}
func (b silentBroker) Publish(*twin.Publish, func(error))                 {}
func (b silentBroker) Retained(string) (m awsiot.RetainedMessage, _ bool) { return m, false }
func (b silentBroker) ListRetained(string, int) []awsiot.RetainedMessage  { return nil }

func benchDoor(b *testing.B, wanted bool) *awsiot.Door {
	b.Helper()
	d, err := awsiot.New(slog.New(slog.NewTextHandler(io.Discard, nil)), awsiot.Options{})
	if err != nil {
		b.Fatal(err)
	}
	d.Connect(&fakeEngine{duplicate: true}, silentBroker{wanted}, silentBroker{})
	b.Cleanup(d.Close)
	return d
}

const report = `{"state":{"reported":{"temperature":21.5,"humidity":40,"mode":"running","rssi":-61,"uptime":123456,"firmware":"1.4.2","battery":{"level":87,"charging":false},"position":{"lat":53.55,"lon":9.99}}},"clientToken":"dev-0042-17"}`

// BenchmarkDoor_Publish is an update from the broker to the engine and back, the
// parser included.
func BenchmarkDoor_Publish(b *testing.B) {
	d := benchDoor(b, false)
	p := &twin.Publish{Message: twin.Message{Topic: lamp + "update", Payload: []byte(report)}}
	done := func(error) {}
	b.ReportAllocs()
	for b.Loop() {
		d.Publish(p, done)
	}
}

// BenchmarkDoor_Stage is an accepted update becoming messages.
func BenchmarkDoor_Stage(b *testing.B) {
	req, err := twin.ParseRequest([]byte(report), twin.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	c, err := twin.NewChange(twin.ShadowKey{Thing: "lamp-1"}, nil, req, startTime, twin.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	for _, wanted := range []bool{false, true} {
		b.Run(fmt.Sprintf("wanted=%v", wanted), func(b *testing.B) {
			d := benchDoor(b, wanted)
			b.ReportAllocs()
			for b.Loop() {
				_ = d.Stage(c)
			}
		})
	}
}
