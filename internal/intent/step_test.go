package intent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// life is a shadow that a script brings on, a second at a time.
type life struct {
	shadow *twin.Shadow
	list   *List
	now    twin.Time
}

// do makes a step and returns what happened, and what is open after it. A line is who, and
// what: a state, delete, withdraw V, expire V, took V, or reply V STATUS.
func (l *life) do(t *testing.T, line string) string {
	t.Helper()
	l.now += 1000
	who, what, _ := strings.Cut(line, " ")
	verb, rest, _ := strings.Cut(what, " ")
	var events []Event
	version := func() (v twin.Version) { fmt.Sscanf(rest, "v%d", &v); return v }
	switch verb {
	case "took":
		l.list, events = l.list.Deliver(version(), who, 1, l.now)
	case "reply":
		_, status, _ := strings.Cut(rest, " ")
		next, evs, err := l.list.Reply(version(), &Answer{Status: status, Message: "so it is", Time: l.now})
		if err != nil {
			return err.Error()
		}
		l.list, events = next, evs
	default:
		events = l.change(t, who, what)
	}
	var parts []string
	for _, e := range events {
		parts = append(parts, fmt.Sprintf("v%d %s: %s", e.Version, e.Type, e.Message))
	}
	open := []string{}
	if l.list != nil {
		for i := range l.list.Open {
			x := &l.list.Open[i]
			open = append(open, fmt.Sprintf("%s %s %s", x.ID(), x.State(), join(x.Open)))
		}
		back, err := Decode(l.list.Encode())
		if err != nil || string(back.Encode()) != string(l.list.Encode()) {
			t.Errorf("%v: %s is read as %s", err, l.list.Encode(), back.Encode())
		}
	}
	return strings.Join(parts, "; ") + " | " + strings.Join(open, "; ")
}

func (l *life) change(t *testing.T, who, what string) []Event {
	t.Helper()
	lim := twin.Limits{}.WithDefaults()
	key := twin.ShadowKey{Thing: "t"}
	m := &Move{By: who, Device: who == "device"}
	if verb, rest, _ := strings.Cut(what, " "); verb == "withdraw" || verb == "expire" {
		var v twin.Version
		fmt.Sscanf(rest, "v%d", &v)
		m.Withdraw = &twin.Withdrawal{Version: v, Expired: verb == "expire", Reason: "enough"}
		what = string(l.list.Find(v).Withdrawal(l.shadow.Desired))
		what = what[len(`{"state":`) : len(what)-1]
	}
	var err error
	if what == "delete" {
		m.Change, err = twin.NewDelete(key, l.shadow, &twin.Request{}, l.now)
	} else {
		req, perr := twin.ParseRequest([]byte(`{"state":`+what+`}`), lim)
		if perr != nil {
			t.Fatal(perr)
		}
		m.Change, err = twin.NewChange(key, l.shadow, req, l.now, lim)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.shadow = m.Change.Current
	m.Delta = l.shadow.Delta()
	var events []Event
	l.list, events = l.list.Step(m)
	return events
}

func TestList_Step(t *testing.T) {
	for name, script := range map[string]string{
		"applied": `
			app {"desired":{"a":1,"m":{"x":"on","y":[1,2]}}} => | v1 pending a, m.x, m.y
			device took v1 => v1 delivered: a, m.x, m.y to device after 1s | v1 delivered a, m.x, m.y
			device {"reported":{"a":1.0}} => | v1 delivered m.x, m.y
			device {"reported":{"m":{"x":"on","y":[1,2]}}} => v1 applied: a, m.x, m.y after 3s |
			device {"reported":{"a":7}} => |
			app {"desired":{"a":1}} => | v5 pending a`,
		"what is so already is no wish": `
			device {"reported":{"a":1}} => |
			app {"desired":{"a":1,"b":2}} => | v2 pending b
			app {"desired":{"b":2}} => | v2 pending b`,
		"the device sets and clears in one": `
			app {"desired":{"a":1}} => | v1 pending a
			device {"reported":{"a":1},"desired":null} => v1 applied: a after 1s |`,
		"superseded": `
			app {"desired":{"a":1,"b":1}} => | v1 pending a, b
			ops {"desired":{"a":2}} => | v1 pending b; v2 pending a
			ops {"desired":{"b":null}} => v1 superseded: a, b after 2s: desired.b was taken away by ops | v2 pending a
			ops {"desired":{"a":3}} => v2 superseded: a after 2s: desired.a was set to 3 by ops | v4 pending a
			ops delete => v4 superseded: a after 1s: the shadow was deleted |`,
		"a part applied, the rest superseded": `
			app {"desired":{"a":1,"b":1}} => | v1 pending a, b
			device {"reported":{"a":1}} => | v1 pending b
			app {"desired":{"b":2}} => v1 applied: a, b after 2s | v3 pending b`,
		"rejected by what the device does": `
			app {"desired":{"a":99}} => | v1 pending a
			device {"desired":{"a":10},"reported":{"a":10}} => v1 rejected: a after 1s: the device has set desired.a to 10 |
			app {"desired":{"b":1}} => | v3 pending b
			device {"desired":{"b":null}} => v3 rejected: b after 1s: the device has taken desired.b away |`,
		"rejected by what the device says": `
			app {"desired":{"a":99}} => | v1 pending a
			device reply v1 in_progress => v1 answered: in_progress: so it is | v1 delivered a
			device reply v1 rejected => v1 rejected: a after 2s: so it is |
			device reply v1 rejected => No intent v1 is open
			device {"reported":{"c":1}} => |
			app {"desired":{"a":99}} => | v3 pending a`,
		"expired and withdrawn": `
			app {"desired":{"m":{"a":1,"b":2}}} => | v1 pending m.a, m.b
			app {"desired":{"c":1}} => | v1 pending m.a, m.b; v2 pending c
			device {"reported":{"m":{"a":1}}} => | v1 pending m.b; v2 pending c
			- expire v1 => v1 expired: m.a, m.b after 3s: enough | v2 pending c
			ops withdraw v2 => v2 superseded: c after 3s: enough |`,
		"delivered is what a message had in it": `
			app {"desired":{"a":1}} => | v1 pending a
			app {"desired":{"b":1}} => | v1 pending a; v2 pending b
			device took v1 => v1 delivered: a to device after 2s | v1 delivered a; v2 pending b
			device took v1 => | v1 delivered a; v2 pending b
			device took v2 => v2 delivered: b to device after 3s | v1 delivered a; v2 delivered b`,
		"a whole section": `
			app {"desired":{"a":1,"b":{"c":2}}} => | v1 pending a, b.c
			app {"desired":null} => v1 superseded: a, b.c after 1s: desired.b.c was taken away by app |
			app {"desired":{"e":{}}} => | v3 pending e`,
	} {
		t.Run(name, func(t *testing.T) {
			l := &life{}
			for line := range strings.SplitSeq(strings.TrimSpace(script), "\n") {
				do, want, _ := strings.Cut(strings.TrimSpace(line), " =>")
				if got := l.do(t, do); strings.TrimSpace(got) != strings.TrimSpace(want) {
					t.Errorf("%s:\n got %s\nwant%s", do, got, want)
				}
			}
		})
	}
}

func TestMove_expiresIn(t *testing.T) {
	req, err := twin.ParseRequest([]byte(`{"state":{"desired":{"a":1}}}`), twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := twin.NewChange(twin.ShadowKey{Thing: "t"}, nil, req, 5000, twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	l, _ := (*List)(nil).Step(&Move{Change: c, Delta: c.Current.Delta(), ExpiresIn: time.Minute})
	if got := l.Oldest(); got.Expires != 65_000 || got.Asked != 5000 {
		t.Errorf("%+v", got)
	}
}
