package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/bench/load"
)

// The look-up passes when version and sequence are what was acknowledged, and
// fails when one update is missing or was applied twice.
func TestCheckThing(t *testing.T) {
	cases := []struct {
		name         string
		version, seq int
		acked        uint32
		want         string
	}{
		{"right", 3, 3, 3, ""},
		{"one lost", 2, 2, 3, "version 2, seq 2"},
		{"one twice", 4, 3, 3, "version 4, seq 3"},
		{"not there", 0, 0, 3, "404"},
		{"never sent", 0, 0, 0, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.version == 0 {
					http.NotFound(w, nil)
					return
				}
				_, _ = fmt.Fprintf(w, `{"state":{"reported":{"seq":%d}},"version":%d}`, load.SeqBase+c.seq, c.version)
			}))
			defer s.Close()
			err := checkThing(context.Background(), s.Client(), s.Listener.Addr().(*net.TCPAddr).String(), "pump-0000001", c.acked)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for want, v := range map[float64][]float64{2: {3, 1, 2}, 2.5: {4, 1, 2, 3}, 7: {7}} {
		if got := median(v); got != want {
			t.Errorf("median of %v: got %g, want %g", v, got, want)
		}
	}
}
