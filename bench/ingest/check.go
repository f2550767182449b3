package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/bench/load"
)

const (
	checkers       = 16 // requests at a time
	checkTime      = 60 * time.Second
	shadowBytesMax = 64 << 10
)

// checkStored looks up things over HTTP. All updates sent were acknowledged (the
// generator says so), so the version of each must be the number of its updates and
// its sequence field that of the last one.
func checkStored(ctx context.Context, addr string, g *load.Generator, things, sample int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	numbers := rand.Perm(things)[:min(sample, things)]
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: checkers}}
	defer client.CloseIdleConnections()
	var (
		wg   sync.WaitGroup
		errs [checkers]error
		sums [checkers]uint64
	)
	for w := range checkers {
		wg.Go(func() {
			for i := w; i < len(numbers) && errs[w] == nil; i += checkers {
				_, acked := g.Counts(numbers[i])
				sums[w] += uint64(acked)
				errs[w] = checkThing(ctx, client, addr, load.ThingName("pump-", numbers[i]), acked)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return "", err
	}
	var sum uint64
	for _, s := range sums {
		sum += s
	}
	return fmt.Sprintf("looked up %d things over HTTP: %d acknowledged updates, all there, none twice", len(numbers), sum), nil
}

func checkThing(ctx context.Context, client *http.Client, addr, thing string, acked uint32) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/things/"+thing+"/shadow", nil)
	if err != nil {
		return fmt.Errorf("look up %s: %w", thing, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("look up %s: %w", thing, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, shadowBytesMax))
	if err != nil {
		return fmt.Errorf("look up %s: %w", thing, err)
	}
	if resp.StatusCode == http.StatusNotFound && acked == 0 {
		return nil
	}
	var doc struct {
		Version uint32
		State   struct {
			Reported struct{ Seq uint32 }
		}
	}
	if err := json.Unmarshal(body, &doc); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("look up %s: %s: %s", thing, resp.Status, body)
	}
	if doc.Version != acked || doc.State.Reported.Seq != load.SeqBase+acked {
		return fmt.Errorf("%s: %d updates were acknowledged, the server has version %d, seq %d",
			thing, acked, doc.Version, int64(doc.State.Reported.Seq)-load.SeqBase)
	}
	return nil
}
