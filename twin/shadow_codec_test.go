package twin_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/twin"
)

// apply makes a shadow by updates, each a second after the one before it.
func apply(t testing.TB, payloads ...string) *twin.Shadow {
	t.Helper()
	var s *twin.Shadow
	for i, p := range payloads {
		req, err := twin.ParseRequest([]byte(p), twin.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		c, err := twin.NewChange(pairKey, s, req, twin.Time(1_700_000_000_000+1000*i), twin.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		s = c.Current
	}
	return s
}

// goldenShadowHex is the example of docs/format/shadow.md.
const goldenShadowHex = "01" + "03" + "02" + "08" + // format, flags, version, nodes
	"25" + // desired: an object of 2
	"04226f6e22" + "02" + "82c49fd50c" + // "on": true, another stamp
	"07226c6576656c22" + "23" + "01" + "3430" + // "level": number of 2 characters, stamp one earlier
	"25" + // reported: an object of 2
	"06226e616d6522" + "fc" + "05" + "2261206c616d7020696e207468652068616c6c22" + // "name": string of 15+5, same stamp
	"06227461677322" + "2e" + "34227822" + "05" + // "tags": array of 2, same stamp: a string and an empty object
	"e351e0ad" // CRC-32C

// TestShadow_golden fails if the bytes on disk change. They may not: add a format.
func TestShadow_golden(t *testing.T) {
	s := apply(t,
		`{"state":{"desired":{"on":true,"level":40},"reported":{"name":"a lamp in the hall","tags":["x",{}]}}}`,
		`{"state":{"desired":{"on":true}}}`)
	got := hex.EncodeToString(s.AppendBinary(nil))
	if got != goldenShadowHex {
		t.Errorf("encoding\n got %s\nwant %s", got, goldenShadowHex)
	}
	tomb, err := twin.NewDelete(pairKey, s, &twin.Request{}, 1_700_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(tomb.Current.AppendBinary(nil)), "01040380a0abfef96200f830e7ab"; got != want {
		t.Errorf("tombstone\n got %s\nwant %s", got, want)
	}
}

// TestDecodeShadow_damaged: no cut, and no change of one byte, goes unnoticed.
func TestDecodeShadow_damaged(t *testing.T) {
	whole := benchShadow(t).AppendBinary(nil)
	if _, err := twin.DecodeShadow(whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := twin.DecodeShadow(whole[:n:n]); err == nil {
			t.Errorf("cut to %d of %d bytes it is read", n, len(whole))
		}
		for bit := range 8 {
			bad := bytes.Clone(whole)
			bad[n] ^= 1 << bit
			if _, err := twin.DecodeShadow(bad); err == nil {
				t.Errorf("with bit %d of byte %d wrong it is read", bit, n)
			}
		}
	}
	bad := bytes.Clone(whole)
	bad[0] = 2
	if _, err := twin.DecodeShadow(bad); err == nil || !strings.Contains(err.Error(), "format 2 is unknown, this build reads 1") {
		t.Errorf("another format: got %v", err)
	}
}

// TestDecodeShadow_shares: a shadow that is read costs one piece of memory for all
// its nodes.
func TestDecodeShadow_shares(t *testing.T) {
	whole := benchShadow(t).AppendBinary(nil)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := twin.DecodeShadow(whole); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 2 {
		t.Errorf("got %v allocations, want at most 2", allocs)
	}
}

// sealed gives bytes the right format and checksum, so that the fuzzer comes to
// what is behind them.
func sealed(body []byte) []byte {
	b := append([]byte{1}, body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// FuzzDecodeShadow: damaged bytes are an error, and what is read can be used, written
// and read again.
func FuzzDecodeShadow(f *testing.F) {
	for _, s := range []*twin.Shadow{
		benchShadow(f),
		apply(f, `{"state":null}`),
		apply(f, `{"state":{"reported":{"a":[[],{},[{"b":[true,false,-0.5e3]}]],"ü":"0123456789012345"}}}`, `{"state":{"reported":{"b":1}}}`),
		{Version: 1 << 60, DeletedAt: 1_700_000_000_000},
	} {
		b := s.AppendBinary(nil)
		f.Add(b[1 : len(b)-4])
	}
	f.Add([]byte{2, 1, 2, 0x15, 0, 0x01}) // a name without quotes
	f.Add([]byte{2, 1, 2, 0x15, 2, '"', '"', 0x14, 0, '"'})
	f.Add([]byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xf, 0x05})
	f.Add(append([]byte{2, 1, 0xc8, 1}, bytes.Repeat([]byte{0x15, 2, '"', '"'}, 200)...))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = twin.DecodeShadow(body)
		s, err := twin.DecodeShadow(sealed(body))
		if err != nil {
			return
		}
		twin.AppendGet(nil, s, 0, nil)
		s.Reported.Leaves(func(string, []byte, int64) {})
		once := s.AppendBinary(nil)
		again, err := twin.DecodeShadow(once)
		if err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
		if !bytes.Equal(again.AppendBinary(nil), once) {
			t.Fatal("written differently the second time")
		}
	})
}

// TestDecodeShadow_refuses: bytes with the right checksum that no shadow has.
func TestDecodeShadow_refuses(t *testing.T) {
	f := func(what, want string, body []byte) {
		t.Helper()
		s, err := twin.DecodeShadow(sealed(body))
		if want == "" {
			if err != nil {
				t.Errorf("%s: got %v", what, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v", what, s, err)
		}
	}
	nested := func(levels int) []byte { // levels of {"":…}, the innermost {}
		body := binary.AppendUvarint([]byte{2, 1}, uint64(levels))
		body = append(body, bytes.Repeat([]byte{0x15, 2, '"', '"'}, levels-1)...)
		return append(body, 0x05)
	}
	f("an empty object", "", nested(1))
	f("128 levels", "", nested(128))
	f("129 levels", "nested too deeply", nested(129))
	f("10,000 levels", "nested too deeply", nested(10_000))
	f("an unknown flag", "flags 0x12 are unknown", []byte{0x12, 1, 1, 5})
	f("an unknown kind", "no such node", []byte{2, 1, 2, 0x15, 2, '"', '"', 7})
	f("null", "no such node", []byte{2, 1, 2, 0x15, 2, '"', '"', 0, 0})
	f("a section that is an array", "no such node", []byte{2, 1, 1, 0x06, 0})
	f("a name without quotes", "no such node", []byte{2, 1, 2, 0x15, 1, 'a', 5})
	f("a string without quotes", "no such node", []byte{2, 1, 2, 0x15, 2, '"', '"', 0x24, 0, 'a', 'b'})
	f("a number without digits", "no such node", []byte{2, 1, 2, 0x15, 2, '"', '"', 0x03, 0})
	f("true with a text", "no such node", []byte{2, 1, 2, 0x15, 2, '"', '"', 0x12, 0, 'a'})
	f("an object with a stamp", "no such node", []byte{2, 1, 1, 0x0d})
	f("fewer nodes than said", "number of nodes", []byte{2, 1, 1, 0x15, 2, '"', '"', 5})
	f("more nodes than said", "number of nodes", []byte{2, 1, 2, 5})
	f("more nodes than bytes", "number of nodes", []byte{2, 1, 0xff, 0xff, 3, 5})
	f("bytes after the end", "number of nodes", []byte{2, 1, 1, 5, 0})
	f("a node that is missing", "ends too early", []byte{2, 1, 2, 0x15, 2, '"', '"', 0x24, 0, '"'})
}
