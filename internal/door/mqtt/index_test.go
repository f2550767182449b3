package mqtt

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// naiveMatch is section 4.7 written down, level by level.
func naiveMatch(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "#" || f[0] == "+") {
		return false
	}
	for i, level := range f {
		if level == "#" {
			return true // also the parent level, as i may be len(t)
		}
		if i >= len(t) || level != "+" && level != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}

// The index and its quick answer agree with the naive matcher, while subscriptions come and go.
func TestIndex_model(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	join := func(level func(last bool) string) string {
		n := 1 + rng.IntN(4)
		var s []string
		for i := range n {
			s = append(s, level(i == n-1))
		}
		return strings.Join(s, "/")
	}
	var x index
	var live []*subscription
	for range 20_000 {
		switch rng.IntN(4) {
		case 0:
			sub := &subscription{filter: join(func(last bool) string {
				if last && rng.IntN(3) == 0 {
					return "#"
				}
				return pick("a", "b", "+", "$s", "")
			})}
			if sub.filter == "" {
				continue
			}
			x.add(sub, nil)
			live = append(live, sub)
		case 1:
			if i := len(live); i > 0 && (i > 30 || rng.IntN(2) == 0) {
				i = rng.IntN(i)
				x.remove(live[i])
				live = slices.Delete(live, i, i+1)
			}
		default:
			topic := join(func(bool) string { return pick("a", "b", "$s", "", "c") })
			if topic == "" {
				continue
			}
			want := 0
			for _, sub := range live {
				if naiveMatch(sub.filter, topic) {
					want++
				}
			}
			got, overlap := x.match(nil, topic)
			if len(got) != want || x.wanted(topic) != (want > 0) || x.wantedBytes([]byte(topic)) != (want > 0) {
				t.Fatalf("%q: %d subscriptions, want %d", topic, len(got), want)
			}
			for _, sub := range got {
				if !naiveMatch(sub.filter, topic) {
					t.Fatalf("%q was found for %q", sub.filter, topic)
				}
			}
			if !overlap && want > 1 && slices.ContainsFunc(got, func(s *subscription) bool { return isWild(s.filter) }) {
				t.Fatalf("%q: overlap not reported", topic)
			}
		}
	}
	for _, sub := range live {
		x.remove(sub)
	}
	if !x.wild.empty() || len(x.exact) > 0 || x.wilds != 0 {
		t.Fatal("something remains")
	}
}

// The retained messages of a filter are those of the naive matcher, in order, while
// messages come and go.
func TestRetained_model(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	random := func(levels ...string) string {
		var s []string
		for range 1 + rng.IntN(4) {
			s = append(s, levels[rng.IntN(len(levels))])
		}
		return strings.Join(s, "/")
	}
	var x retainedSet
	for range 5000 {
		if topic := random("a", "b", "c", ""); topic != "" {
			r := &retained{}
			r.Topic, r.Payload = topic, make([]byte, rng.IntN(2))
			x.set(r)
		}
		filter := random("a", "b", "+", "")
		switch rng.IntN(3) {
		case 0:
			filter += "/#"
		case 1:
			filter = "#"
		}
		if filter == "" {
			continue
		}
		var want, got []string
		for topic := range x.m {
			if naiveMatch(filter, topic) {
				want = append(want, topic)
			}
		}
		slices.Sort(want)
		for _, r := range x.match(filter) {
			got = append(got, r.Topic)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q: got %q, want %q", filter, got, want)
		}
	}
	for topic := range x.m {
		r := &retained{}
		r.Topic = topic
		x.set(r)
	}
	if len(x.tree.children) > 0 || x.bytes != 0 {
		t.Fatalf("something remains: %d bytes", x.bytes)
	}
}

// Wanted is asked three times for each update.
func TestIndex_wantedAllocs(t *testing.T) {
	x := bigIndex()
	topic := []byte("$aws/things/thing-77/shadow/update/accepted")
	if n := testing.AllocsPerRun(100, func() {
		if x.wantedBytes(topic) {
			t.Fatal("wanted")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func bigIndex() *index {
	x := &index{}
	for i := range 10_000 {
		thing := "$aws/things/thing-" + strings.Repeat("x", i%7) + string(rune('a'+i%26))
		x.add(&subscription{filter: thing + "/shadow/update/delta"}, nil)
		x.add(&subscription{filter: thing + "/shadow/get/+"}, nil)
	}
	return x
}

func BenchmarkWanted(b *testing.B) {
	x := bigIndex()
	topic := []byte("$aws/things/thing-77/shadow/update/accepted")
	b.ReportAllocs()
	for b.Loop() {
		if x.wantedBytes(topic) {
			b.Fatal("wanted")
		}
	}
}
