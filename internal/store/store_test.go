package store_test

import (
	"testing"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/internal/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory() })
}
