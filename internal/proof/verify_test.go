package proof_test

import (
	"context"
	"testing"

	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/store"
)

func mustVerify(t testing.TB, src proof.Source, opts proof.Options) proof.Report {
	t.Helper()
	r, err := proof.Verify(context.Background(), src, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustBeClean(t testing.TB, r proof.Report) {
	t.Helper()
	for _, f := range r.Findings {
		t.Errorf("found in a clean store: %s", f)
	}
	if t.Failed() {
		t.FailNow()
	}
}

func TestVerify_clean(t *testing.T) {
	w := newLife(t, 1).live(5, 4000)
	r := mustVerify(t, w, proof.Options{})
	mustBeClean(t, r)
	if r.Things != 5 || r.Events < 3900 || r.Segments < 15 || r.Unproven != 0 || r.Expired != 0 {
		t.Fatalf("looked at too little: %+v", r)
	}
}

func TestVerify_expired(t *testing.T) {
	l := newLife(t, 2)
	l.live(3, 3000)
	day := uint32(l.now.UnixMilli() / 86400000)
	for name, p := range map[string]store.Policy{
		"both":    {store.ClassHistory: day - 5, store.ClassLog: day - 5},
		"history": {store.ClassHistory: day - 2, store.ClassLog: day - 10},
		"all":     {store.ClassHistory: day + 1, store.ClassLog: day + 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := l.world.copyWorld()
			w.expire(t, p)
			r := mustVerify(t, w, proof.Options{Expired: p})
			mustBeClean(t, r)
			if r.Expired == 0 || (name == "both" && r.Unproven != 0) || (name == "history" && r.Unproven == 0) {
				t.Fatalf("%+v", r)
			}
			if name == "both" {
				mustBeClean(t, mustVerify(t, w, proof.Options{}))
			}
		})
	}
}
