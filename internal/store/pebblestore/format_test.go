package pebblestore

import (
	"bytes"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// The bytes on disk, as in docs/format/store.md. A change here needs another version
// stamp.
func TestFormat_golden(t *testing.T) {
	key := twin.ShadowKey{Thing: "ab", Shadow: "c"}
	head := twin.Head{Seq: 3, Time: 300, Hash: twin.Hash{0: 1, 31: 2}}
	hash := "01" + strings.Repeat("00", 30) + "02"
	mutation := store.Mutation{Live: true, Doc: []byte("doc"), Info: store.ShadowInfo{Seq: 3, SinceSnapshot: 4, SnapshotDay: 300}}
	grouped := mutation
	grouped.Info.SnapshotGroup = 5
	group := logGroup{}
	group.reset(300, 70_000)
	for _, e := range []logEntry{{class: store.ClassLog, day: 298, key: key, seq: 3}, {class: store.ClassLog, day: 298, key: key, seq: 5}, {mark: true}} {
		group.add(&e)
	}
	for what, test := range map[string]struct {
		got  []byte
		want string
	}{
		"L key":       {appendLogKey(nil, 300, 70_000), "4c" + "02012c" + "03011170"},
		"L value":     {group.append(nil), "03" + "8204" + "02" + "00" + "01" + "06" + "04" + "616200" + "6300" + "616200" + "6300"},
		"D key":       {appendHistoryKey(nil, store.ClassLog, 300, key, 3), "44" + "01" + "02012c" + "616200" + "6300" + "0103"},
		"S key":       {appendShadowKey(nil, key), "53" + "616200" + "63"},
		"S value":     {appendShadow(nil, 300, &mutation), "ac02" + "01" + "03" + "04" + "ac02" + "646f63"},
		"S of group":  {appendShadow(nil, 300, &grouped), "ac02" + "03" + "03" + "04" + "ac02" + "05" + "646f63"},
		"H of groups": {appendGroups(appendHead(nil, 300, head), store.Groups{{Group: 0, Day: 2}, {Group: 5, Day: 300}}), "ac02" + "03" + "ac02" + hash + "0002" + "05ac02"},
		"H key":       {appendHeadKey(nil, "ab"), "48" + "6162"},
		"H value":     {appendHead(nil, 300, head), "ac02" + "03" + "ac02" + hash},
		"A key":       {appendAnchorKey(nil, "ab", 3), "41" + "616200" + "0103"},
		"R key":       {appendRecordKey(nil, 4, "k"), "52" + "04" + "6b"},
		"R value":     {appendRecord(nil, 300, []byte("v")), "ac02" + "76"},
		"C value":     {(&counters{pos: 300, day: 2}).append(nil), "ac02" + "02"},
		"HEAD":        {appendHeadFile(nil, 300), "54464844" + "01" + "000000000000012c" + "f84b9d6e"},
		"ordered 0":   {appendOrdered(nil, 0), "00"},
		"ordered max": {appendOrdered(nil, math.MaxUint64), "08ffffffffffffffff"},
	} {
		if got := hex.EncodeToString(test.got); got != test.want {
			t.Errorf("%s: got %s, want %s", what, got, test.want)
		}
	}
}

func TestOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		x, y := appendOrdered(nil, a), appendOrdered(nil, b)
		if got, want := bytes.Compare(x, y), compare(a, b); got != want {
			t.Fatalf("%x and %x compare as %d, %d and %d as %d", x, y, got, a, b, want)
		}
		got, rest, ok := ordered(append(x, "rest"...))
		if !ok || got != a || string(rest) != "rest" {
			t.Fatalf("%d reads as %d, %q, %t", a, got, rest, ok)
		}
	})
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// FuzzValues reads foreign bytes as every kind of key and value: no panic, and what is
// accepted is written again as it was, if in its shortest form.
func FuzzValues(f *testing.F) {
	var g logGroup
	g.reset(300, 1)
	g.add(&logEntry{day: 298, key: twin.ShadowKey{Thing: "ab", Shadow: "c"}, seq: 3})
	g.add(&logEntry{mark: true})
	f.Add(g.append(nil))
	f.Add((&packer{}).append(nil, twin.ShadowKey{Thing: "ab"}, 3, 0, packable("ab", 300, `{"a":1.5}`)))
	f.Add(appendHead(nil, 300, twin.Head{Seq: 3}))
	f.Add(appendShadow(nil, 300, &store.Mutation{Doc: []byte("doc")}))
	f.Add((&counters{pos: 300}).append(nil))
	f.Add(appendHeadFile(nil, 300))
	f.Add(appendLogKey(nil, 300, 70_000))
	f.Fuzz(func(t *testing.T, b []byte) {
		if entries, ok := parseLogGroup(nil, b, 300); ok {
			var g logGroup
			g.reset(300, 1)
			for i := range entries {
				g.add(&entries[i])
			}
			again, ok := parseLogGroup(nil, g.append(nil), 300)
			if diff := cmp.Diff(entries, again, cmp.AllowUnexported(logEntry{})); !ok || diff != "" {
				t.Fatalf("log entries (-first +again):\n%s", diff)
			}
		}
		if pos, h, gs, err := parseHeadGroups(b, "thing"); err == nil {
			p, again, groups, err := parseHeadGroups(appendGroups(appendHead(nil, pos, h), gs), "thing")
			if err != nil || p != pos || again != h || !slices.Equal(groups, gs) {
				t.Fatalf("head %v of %v at %d reads as %v of %v at %d, %v", h, gs, pos, again, groups, p, err)
			}
		}
		if c, err := parseCounters(b); err == nil {
			if again, err := parseCounters(c.append(nil)); err != nil || again != c {
				t.Fatalf("counters %v read as %v, %v", c, again, err)
			}
		}
		if pos, err := parseHeadFile(b); err == nil && !bytes.Equal(appendHeadFile(nil, pos), b) {
			t.Fatal("a head file that this code does not write was accepted")
		}
		_, _ = unpackEvent(twin.ShadowKey{Thing: "ab"}, 3, 0, b)
		_, _, _, _ = parseShadow(b, twin.ShadowKey{})
		_, _ = parseRecord(b, 1, "key")
		_, _, _ = parseLogKey(b)
		_, _ = parseShadowKey(b)
		_, _ = historyDay(b)
	})
}
