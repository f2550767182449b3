package awsiot_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
	"github.com/twofold-iot/twofold/twin"
)

func TestParseTopic(t *testing.T) {
	classic := twin.ShadowKey{Thing: "lamp-1"}
	named := twin.ShadowKey{Thing: "lamp:1", Shadow: "$package"}
	for topic, want := range map[string]awsiot.Topic{
		"$aws/things/lamp-1/shadow/get":                                    {Key: classic, Op: awsiot.OpGet},
		"$aws/things/lamp-1/shadow/get/accepted":                           {Key: classic, Op: awsiot.OpGet, Answer: awsiot.Accepted},
		"$aws/things/lamp-1/shadow/get/rejected":                           {Key: classic, Op: awsiot.OpGet, Answer: awsiot.Rejected},
		"$aws/things/lamp-1/shadow/update":                                 {Key: classic, Op: awsiot.OpUpdate},
		"$aws/things/lamp-1/shadow/update/accepted":                        {Key: classic, Op: awsiot.OpUpdate, Answer: awsiot.Accepted},
		"$aws/things/lamp-1/shadow/update/rejected":                        {Key: classic, Op: awsiot.OpUpdate, Answer: awsiot.Rejected},
		"$aws/things/lamp-1/shadow/update/delta":                           {Key: classic, Op: awsiot.OpUpdate, Answer: awsiot.Delta},
		"$aws/things/lamp-1/shadow/update/documents":                       {Key: classic, Op: awsiot.OpUpdate, Answer: awsiot.Documents},
		"$aws/things/lamp-1/shadow/delete":                                 {Key: classic, Op: awsiot.OpDelete},
		"$aws/things/lamp-1/shadow/delete/accepted":                        {Key: classic, Op: awsiot.OpDelete, Answer: awsiot.Accepted},
		"$aws/things/lamp-1/shadow/delete/rejected":                        {Key: classic, Op: awsiot.OpDelete, Answer: awsiot.Rejected},
		"$aws/things/lamp:1/shadow/name/$package/update":                   {Key: named, Named: true, Op: awsiot.OpUpdate},
		"$aws/things/lamp:1/shadow/name/$package/update/delta":             {Key: named, Named: true, Op: awsiot.OpUpdate, Answer: awsiot.Delta},
		"$aws/things/lamp:1/shadow/name/$package/get":                      {Key: named, Named: true, Op: awsiot.OpGet},
		"$aws/things/lamp:1/shadow/name/$package/delete/rejected":          {Key: named, Named: true, Op: awsiot.OpDelete, Answer: awsiot.Rejected},
		"$aws/things//shadow/update":                                       {Op: awsiot.OpUpdate},
		"$aws/things/t/shadow/name//get":                                   {Key: twin.ShadowKey{Thing: "t"}, Named: true, Op: awsiot.OpGet},
		"$aws/things/t/shadow/name/get/get":                                {Key: twin.ShadowKey{Thing: "t", Shadow: "get"}, Named: true, Op: awsiot.OpGet},
		"$aws/things/" + strings.Repeat("x", 129) + "/shadow/get":          {Key: twin.ShadowKey{Thing: twin.ThingName(strings.Repeat("x", 129))}, Op: awsiot.OpGet},
		"$aws/things/t/shadow/name/" + strings.Repeat("x", 65) + "/update": {Key: twin.ShadowKey{Thing: "t", Shadow: twin.ShadowName(strings.Repeat("x", 65))}, Named: true, Op: awsiot.OpUpdate},
	} {
		got, ok := awsiot.ParseTopic(topic)
		if !ok || got != want {
			t.Errorf("ParseTopic(%q) = %+v, %v; want %+v", topic, got, ok, want)
		}
		if back := got.String(); back != topic {
			t.Errorf("String() = %q, want %q", back, topic)
		}
	}
}

// notRequests are topics clients may not publish to.
var notRequests = []string{
	"$aws/things/t/shadow/update/accepted", "$aws/things/t/shadow/update/rejected", "$aws/things/t/shadow/update/delta",
	"$aws/things/t/shadow/update/documents", "$aws/things/t/shadow/get/accepted", "$aws/things/t/shadow/get/rejected",
	"$aws/things/t/shadow/delete/accepted", "$aws/things/t/shadow/delete/rejected",
	"$aws/things/t/shadow/name/s/update/delta", "$aws/things/t/shadow/name/s/get/accepted",
	"$aws/things/t/shadow/get/delta", "$aws/things/t/shadow/delete/documents", "$aws/things/t/shadow/update/other",
	"$aws/things/t/shadow/update/", "$aws/things/t/shadow/update/delta/x", "$aws/things/t/shadow", "$aws/things/t/shadow/",
	"$aws/things/t/shadow/s/update", // a documentation error of AWS: without /name/
	"$aws/things/t/shadow/name", "$aws/things/t/shadow/name/", "$aws/things/t/shadow/name/s", "$aws/things/t/shadow/name/s/",
	"$aws/things/t/shadow/name/s/t/update",
	"$aws/things/a/b/shadow/update", "$aws/things/t/Shadow/update", "$aws/things/t/shadow/UPDATE", "$AWS/things/t/shadow/update",
	"$aws/things/", "$aws/things", "$aws/", "$aws", "$", "$SYS/broker/uptime", "$share/g/a", "$aws/rules/r", "$aws/things/t/jobs/get",
	"$aws/events/presence/connected/c",
}

func TestDoor_Allow(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	for _, topic := range []string{
		"$aws/things/t/shadow/update", "$aws/things/t/shadow/get", "$aws/things/t/shadow/delete",
		"$aws/things/t/shadow/name/s/update", "$aws/things/t/shadow/name/s/get", "$aws/things/t/shadow/name/s/delete",
		"$aws/things//shadow/update", // illegal names are answered, not denied
	} {
		if err := r.door.Allow(topic); err != nil {
			t.Errorf("Allow(%q) = %v", topic, err)
		}
	}
	for _, topic := range notRequests {
		if err := r.door.Allow(topic); twin.Kind(err) != twin.KindDenied {
			t.Errorf("Allow(%q) = %v, want denied", topic, err)
		}
		p := &twin.Publish{Message: twin.Message{Topic: topic}}
		if r.door.Publish(p, func(error) { t.Errorf("done called for %q", topic) }) {
			t.Errorf("Publish took %q", topic)
		}
	}
	for _, topic := range []string{"$aws/things/+/shadow/#", "$aws/#", "$SYS/+", "$aws/things/t/shadow/\x00"} {
		if err := r.door.Allow(topic); twin.Kind(err) != twin.KindInvalid {
			t.Errorf("Allow(%q) = %v, want invalid", topic, err)
		}
	}
}

func TestParseTopic_allocates_nothing(t *testing.T) {
	r := newRig(t, awsiot.Options{})
	const topic = "$aws/things/lamp-1/shadow/name/config/update"
	n := testing.AllocsPerRun(100, func() {
		parsed, ok := awsiot.ParseTopic(topic)
		if !ok || parsed.Check() != nil || r.door.Allow(topic) != nil {
			t.Fatal("a legal topic was refused")
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations, want 0", n)
	}
}

func FuzzParseTopic(f *testing.F) {
	for _, s := range notRequests {
		f.Add(s)
	}
	f.Add("$aws/things/lamp-1/shadow/name/x/update/documents")
	f.Add("$aws/things/+/shadow/get")
	f.Fuzz(func(t *testing.T, s string) {
		topic, ok := awsiot.ParseTopic(s)
		if !ok {
			if topic != (awsiot.Topic{}) {
				t.Fatalf("ParseTopic(%q) refused it and left %+v", s, topic)
			}
			return
		}
		if back := topic.String(); back != s {
			t.Fatalf("ParseTopic(%q) formats as %q", s, back)
		}
		if strings.Contains(string(topic.Key.Thing), "/") || strings.Contains(string(topic.Key.Shadow), "/") {
			t.Fatalf("ParseTopic(%q) has a slash in a name: %+v", s, topic)
		}
		if (topic.Answer == awsiot.Delta || topic.Answer == awsiot.Documents) && topic.Op != awsiot.OpUpdate {
			t.Fatalf("ParseTopic(%q) = %+v", s, topic)
		}
		if err := topic.Check(); err != nil {
			var e *twin.Error
			if !errors.As(err, &e) || e.Kind != twin.KindInvalid {
				t.Fatalf("Check() = %v", err)
			}
		}
	})
}
