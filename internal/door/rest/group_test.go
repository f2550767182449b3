package rest_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/internal/group"
)

func newGroups(t *testing.T, e *engine.Engine, f *fleet.Engine) *group.Service {
	t.Helper()
	s, err := group.Open(t.Context(), slog.New(slog.DiscardHandler), e, f, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return s
}

func TestGroups(t *testing.T) {
	w := newWorld(t)
	w.pump(t)
	if got := w.ok(t, "PUT", "/api/v1/groups/hot", `{"where":"reported.temperature > 40","about":"too hot"}`).Body.String(); !strings.Contains(got, `"name":"hot","where":"reported.temperature \u003e 40","about":"too hot","members":1,"createdAt":"2026-11-22T15:00`) &&
		!strings.Contains(got, `"where":"reported.temperature > 40","about":"too hot","members":1`) {
		t.Error(got)
	}
	if got := w.ok(t, "GET", "/api/v1/groups/hot/members", "").Body.String(); got != `{"name":"hot","total":1,"members":["pump-7"]}`+"\n" {
		t.Error(got)
	}
	for _, row := range [][3]string{
		{"PUT", `{"where":"reported.temperature >"}`, "#/where"},
		{"PUT", `{}`, "#/where"},
		{"PUT", `{"where":"true","about":"` + strings.Repeat("x", 257) + `"}`, "256"},
		{"GET", "", "no group"},
		{"DELETE", "", "no group"},
	} {
		if res := w.call(row[0], "/api/v1/groups/cold", row[1]); res.Code < 400 || res.Code > 499 || !strings.Contains(res.Body.String(), row[2]) {
			t.Errorf("%v: %d %s", row, res.Code, res.Body)
		}
	}
	if res := w.call("PUT", "/api/v1/groups/a%20b", `{"where":"true"}`); res.Code != 400 {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}
