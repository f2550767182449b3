package rest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/twin"
)

// Only a backup that is asked for by one who may is made, and what cannot be made is refused
// with a problem, before the first byte.
func TestBackup(t *testing.T) {
	w := newWorld(t)
	made := 0
	w.backup = func(_ context.Context, out io.Writer) error {
		made++
		_, err := io.WriteString(out, "bytes")
		return err
	}
	for name, c := range map[string]struct {
		method, site string
		status, made int
	}{
		"a client":             {"GET", "", 200, 1},
		"our own page":         {"GET", "same-origin", 200, 1},
		"typed in":             {"GET", "none", 200, 1},
		"a page of elsewhere":  {"GET", "cross-site", 403, 0},
		"a page of a neighbor": {"GET", "same-site", 403, 0},
		"only the head":        {"HEAD", "", 200, 0},
		"another method":       {"POST", "", 405, 0},
	} {
		made = 0
		var header []string
		if c.site != "" {
			header = []string{"Sec-Fetch-Site: " + c.site}
		}
		res := w.call(c.method, "/api/v1/backup", "", header...)
		if res.Code != c.status || made != c.made {
			t.Errorf("%s: %d, %d made; want %d, %d: %s", name, res.Code, made, c.status, c.made, res.Body)
		}
		if made == 1 && (res.Body.String() != "bytes" || res.Header().Get("Content-Type") != "application/octet-stream" ||
			res.Header().Get("Cache-Control") != "no-store" || !strings.Contains(res.Header().Get("Content-Disposition"), "twofold.backup")) {
			t.Errorf("%s: %q with %v", name, res.Body, res.Header())
		}
	}
}

func TestBackup_refused(t *testing.T) {
	w := newWorld(t)
	for kind, status := range map[twin.ErrorKind]int{
		twin.KindConflict: http.StatusConflict, twin.KindFull: http.StatusInsufficientStorage, twin.KindUnavailable: http.StatusServiceUnavailable,
	} {
		w.backup = func(context.Context, io.Writer) error {
			return twin.NewError(kind, "a backup is being written already")
		}
		res := w.call("GET", "/api/v1/backup", "")
		if res.Code != status || res.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(res.Body.String(), "being written already") {
			t.Errorf("%v: %d %s", kind, res.Code, res.Body)
		}
	}
}

// A backup that fails on its way breaks the connection: no client can take it for whole.
func TestBackup_cutShort(t *testing.T) {
	w := newWorld(t)
	w.backup = func(_ context.Context, out io.Writer) error {
		if _, err := io.WriteString(out, "the begin"); err != nil {
			return err
		}
		return errors.New("input/output error")
	}
	defer func() {
		if r := recover(); r != http.ErrAbortHandler {
			t.Errorf("the handler ended with %v", r)
		}
		if !strings.Contains(w.log.String(), "input/output error") {
			t.Errorf("the log does not tell: %s", w.log)
		}
	}()
	w.call("GET", "/api/v1/backup", "")
	t.Error("it ended like a whole one")
}
