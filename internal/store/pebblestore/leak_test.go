package pebblestore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/store/storetest"
)

// Close ends every goroutine, so does a refused Open. (A fenced store parks some for
// ever, on purpose: other tests leave those behind.)
func TestClose_endsGoroutines(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir := t.TempDir()
	s, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	commitOne(t, s, storetest.NewWorld(1_790_000_000_000), "lamp", "one")
	if _, err := pebblestore.Open(dir, pebblestore.Options{}); err == nil {
		t.Fatal("a folder was opened twice")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}
