package pebblestore_test

import (
	"testing"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
	"github.com/twofold-iot/twofold/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T, dir string) store.Store {
		s, err := pebblestore.Open(dir, pebblestore.Options{MemtableBytes: 256 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
