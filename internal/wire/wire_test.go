package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"testing"

	"github.com/twofold-iot/twofold/internal/wire"
)

func TestPublish(t *testing.T) {
	payload := bytes.Repeat([]byte("x"), 300) // the remaining length takes two bytes
	b := wire.AppendPublish(nil, "a/b", 0x1234, true, payload)
	p, _, err := wire.Read(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		t.Fatal(err)
	}
	topic, id, got, err := p.Message()
	if err != nil || topic != "a/b" || id != 0x1234 || !bytes.Equal(got, payload) || p.First != 0x3a {
		t.Fatalf("got %q %#x %d bytes, first %#x, %v", topic, id, len(got), p.First, err)
	}
}

func TestConnect(t *testing.T) {
	want := []byte{0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 2, 'i', 'd'}
	if got := wire.AppendConnect(nil, "id", true); !bytes.Equal(got, want) {
		t.Fatalf("got %x, want %x", got, want)
	}
}

func TestRead_malformed(t *testing.T) {
	for _, b := range [][]byte{{0x30, 0xff, 0xff, 0xff, 0xff, 1}, {0x30, 0xff, 0xff, 0xff, 0x7f}} {
		if _, _, err := wire.Read(bufio.NewReader(bytes.NewReader(b)), nil); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%x: got %v", b, err)
		}
	}
	for _, b := range [][]byte{{}, {0}, {0, 9, 'a'}, {0, 1, 'a', 0}} {
		if _, _, _, err := (wire.Packet{First: 0x32, Body: b}).Message(); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%x: got %v", b, err)
		}
	}
}
