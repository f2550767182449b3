package pebblestore_test

import (
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/store/storetest"
)

const alone = "TWOFOLD_TEST_ALONE"

// Close ends every goroutine, so does a refused Open. It is tested in a process of its
// own, for a fenced store parks some for ever, and other tests leave those behind.
func TestClose_endsGoroutines(t *testing.T) {
	if os.Getenv(alone) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), alone+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
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
