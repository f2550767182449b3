package main

import (
	"encoding/json"
	"maps"
	"testing"
)

// server applies updates as a correct server does, as often as it is told.
type fakeShadow struct {
	version uint32
	doc     map[string]any
}

func (s *fakeShadow) apply(t *testing.T, payload []byte) {
	t.Helper()
	var u struct {
		State struct{ Reported map[string]any }
	}
	if err := json.Unmarshal(payload, &u); err != nil {
		t.Fatal(err)
	}
	if s.doc == nil {
		s.doc = map[string]any{"slot": map[string]any{}}
	}
	for k, v := range u.State.Reported {
		if k == "slot" {
			maps.Copy(s.doc["slot"].(map[string]any), v.(map[string]any))
			continue
		}
		s.doc[k] = v
	}
	s.version++
}

func (s *fakeShadow) get(t *testing.T) shadow {
	t.Helper()
	b, err := json.Marshal(map[string]any{"version": s.version, "state": map[string]any{"reported": s.doc}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeShadow(b)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Each way in which a server can be wrong is found, under its own name, and a
// correct server is not accused.
func TestOracle_judge(t *testing.T) {
	cases := []struct {
		name    string
		applied []uint32
		acked   uint32
		want    string
	}{
		{"all there", []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 12, ""},
		{"unacknowledged and absent", []uint32{1, 2, 3}, 3, ""},
		{"unacknowledged and there", []uint32{1, 2, 3, 4}, 2, ""},
		{"nothing yet", nil, 0, ""},
		{"newest lost", []uint32{1, 2}, 3, "lost"},
		{"all lost", nil, 3, "lost"},
		{"middle lost", []uint32{1, 3}, 3, "lost"},
		{"applied twice", []uint32{1, 2, 2, 3}, 3, "doubled"},
		{"newest twice", []uint32{1, 2, 3, 3}, 3, "doubled"},
		{"one lost, one twice", []uint32{1, 3, 3}, 3, "inverted"},
		{"swapped", []uint32{2, 1}, 2, "lost"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := newOracle(7, 1)
			th := o.things[0]
			for range 12 {
				th.next()
			}
			for n := range c.acked {
				if err := th.acknowledge(n + 1); err != nil {
					t.Fatal(err)
				}
			}
			var s fakeShadow
			for _, n := range c.applied {
				s.apply(t, o.payload(th, n))
			}
			var f faults
			o.judge(th, s.get(t), &f)
			if c.want == "" && f.total() != 0 || c.want != "" && f.counts()[c.want] == 0 {
				t.Fatalf("got %q, want %q", f.String(), c.want)
			}
		})
	}
}

func TestThing_acknowledge(t *testing.T) {
	o := newOracle(1, 1)
	th := o.things[0]
	th.next()
	th.next()
	for n, ok := range []bool{1: true, 2: true} {
		if n == 0 {
			continue
		}
		if err := th.acknowledge(uint32(n)); (err == nil) != ok {
			t.Fatalf("acknowledge %d: %v", n, err)
		}
	}
	for _, n := range []uint32{2, 3, 0} {
		if th.acknowledge(n) == nil {
			t.Fatalf("acknowledged %d after 2 of 2", n)
		}
	}
}
