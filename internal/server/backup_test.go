package server_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/server"
	"github.com/twofold-iot/twofold/twin"
)

// TestBackup_underLoad takes a backup over HTTP of a server that is written to, restores it,
// and proves it: what was acknowledged before is there, the chains hold, and the fold of
// the events is the state.
func TestBackup_underLoad(t *testing.T) {
	r := start(t, config(t))
	c, err := client.New("http://"+r.addr(t, "http"), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var acked [4]atomic.Uint64
	var stop atomic.Bool
	var writing sync.WaitGroup
	for lane := range acked {
		writing.Go(func() {
			for n := 1; !stop.Load(); n++ {
				ch, err := c.PatchReported(context.Background(), thingOf(lane), fmt.Appendf(nil, `{"n":%d}`, n), client.ChangeOptions{})
				if err != nil {
					t.Errorf("write under backup: %v", err)
					return
				}
				acked[lane].Store(uint64(ch.Version))
			}
		})
	}
	until(t, "every thing is written to", func() bool {
		for lane := range acked {
			if acked[lane].Load() < 20 {
				return false
			}
		}
		return true
	})
	var before [len(acked)]uint64
	for lane := range acked {
		before[lane] = acked[lane].Load()
	}
	var file bytes.Buffer
	err = c.Backup(t.Context(), &file)
	stop.Store(true)
	writing.Wait()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "data")
	if _, err := server.Restore(t.Context(), &file, folder, slog.New(slog.DiscardHandler), nil); err != nil {
		t.Fatal(err)
	}
	prove(t, folder)
	conf := config(t)
	conf.Data = folder
	again, err := client.New("http://"+start(t, conf).addr(t, "http"), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections) // before the servers close: they wait for unused connections
	for lane, version := range before {
		tw, err := again.Twin(t.Context(), thingOf(lane), "")
		if err != nil || uint64(tw.Version) < version {
			t.Errorf("%s is at %+v (%v), version %d was acknowledged before", thingOf(lane), tw, err, version)
		}
	}
}

func thingOf(lane int) twin.ThingName { return twin.ThingName(fmt.Sprint("thing-", lane)) }

func prove(t *testing.T, folder string) {
	t.Helper()
	s, err := server.OpenOffline(folder, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	opts := proof.Options{Now: time.Now}
	chains, err := proof.Verify(t.Context(), s.Source(), opts)
	if err != nil || !chains.OK() || chains.Events < 80 {
		t.Errorf("chains: %+v, %v", chains, err)
	}
	rebuilt, err := proof.Rebuild(t.Context(), s.Source(), opts)
	if err != nil || !rebuilt.OK() {
		t.Errorf("rebuild: %+v, %v", rebuilt, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
