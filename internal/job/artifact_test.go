package job_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/internal/job"
	"github.com/twofold-iot/twofold/twin"
)

// stopping lets nothing through to the disk after some writes, as a kill does.
type stopping struct {
	job.Engine
	left int
}

var errStopped = errors.New("stopped")

func (s *stopping) WriteRecords(key string, ws []twin.RecordWrite, done func(error)) error {
	if s.left--; s.left < 0 {
		return errStopped
	}
	return s.Engine.WriteRecords(key, ws, done)
}

func (w *world) records(t *testing.T, kind twin.RecordKind) int {
	t.Helper()
	rs, err := w.engine.Records(context.Background(), kind, "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(rs)
}

// An upload that is cut short, by a kill too, leaves nothing.
func TestService_PutArtifact_cutShort(t *testing.T) {
	content := strings.Repeat("x", 3*twin.ArtifactPartBytes+1)
	w := newWorld(t, 0, nil)
	if _, _, err := w.PutArtifact(context.Background(), "fw2", io.MultiReader(strings.NewReader(content), iotest.ErrReader(errStopped)), "", admin); twin.Kind(err) != twin.KindInvalid {
		t.Errorf("a body that breaks off: %v", err)
	}
	if _, ok := w.Artifact("fw2"); ok || w.records(t, twin.RecordPart) != 0 {
		t.Errorf("%d parts are left", w.records(t, twin.RecordPart))
	}
	for writes := range 6 { // the record, four parts, the record
		w := newWorld(t, 0, nil)
		w.close()
		w.open(t, func(e *engine.Engine) job.Engine { return &stopping{e, writes} }, nil)
		if _, _, err := w.PutArtifact(context.Background(), "fw", strings.NewReader(content), "", admin); err == nil {
			t.Fatalf("it is kept after %d writes", writes)
		}
		if writes > 1 && w.records(t, twin.RecordPart) != writes-1 {
			t.Fatalf("%d parts after %d writes", w.records(t, twin.RecordPart), writes)
		}
		w.close()
		w.open(t, nil, nil)
		if parts, artifacts := w.records(t, twin.RecordPart), w.records(t, twin.RecordArtifact); parts != 0 || artifacts != 0 {
			t.Errorf("killed after %d writes: %d parts and %d artifacts are left", writes, parts, artifacts)
		}
		if _, existed, err := w.PutArtifact(context.Background(), "fw", strings.NewReader(content), "", admin); err != nil || existed {
			t.Errorf("once more: existed %v, %v", existed, err)
		}
		w.close()
		w.open(t, nil, nil)
		_, r, err := w.OpenArtifact(context.Background(), "fw")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != content {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		if err := w.DeleteArtifact(context.Background(), "fw"); err != nil {
			t.Error(err)
		}
		if parts := w.records(t, twin.RecordPart); parts != 0 {
			t.Errorf("%d parts are left after a delete", parts)
		}
		w.close()
	}
}

func TestArtifactName_Valid(t *testing.T) {
	for name, want := range map[twin.ArtifactName]bool{
		"pump-2.1.0.bin": true, "A": true, "": false, ".hidden": false, "..": false, "a/b": false, "a:b": false, "-x": false, "a b": false,
		twin.ArtifactName(strings.Repeat("a", 128)): true, twin.ArtifactName(strings.Repeat("a", 129)): false,
	} {
		if name.Valid() != want {
			t.Errorf("%.20q: %v", name, !want)
		}
	}
}
