package rest

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Backup writes a backup of all data; what it writes without an error is whole.
type Backup func(ctx context.Context, w io.Writer) error

// backupWriteTimeout is how long a client may take to read a part of a backup.
const backupWriteTimeout = time.Minute

func (d *door) backupRoutes() []route {
	return []route{{
		method: "GET", path: "/api/v1/backup", name: "backup", summary: "Read a backup of all data, made while the server runs; it is whole if its end is there",
		types: []string{"application/octet-stream"}, handler: d.backup,
	}}
}

// backup streams a backup. An error after its begin can only cut the answer short; the
// connection then breaks, and the file has no end.
func (d *door) backup(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "application/octet-stream")
		return nil // a backup is not made to be thrown away
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return &problem{slug: slugDenied, Detail: "a web page of another site may not ask for a backup"}
	}
	out := &backupAnswer{w: w, rc: http.NewResponseController(w)}
	err := d.opts.Backup(r.Context(), out)
	if err == nil || !out.begun {
		return err
	}
	d.log.Warn("backup ended early", "error", err.Error())
	panic(http.ErrAbortHandler)
}

// backupAnswer gives each part the time of a whole answer.
type backupAnswer struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
}

func (b *backupAnswer) Write(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.w.Header().Set("Content-Type", "application/octet-stream")
		b.w.Header().Set("Content-Disposition", `attachment; filename="twofold.backup"`)
		b.w.Header().Set("Cache-Control", "no-store")
		_ = b.rc.SetReadDeadline(time.Time{}) // the request has been read; not every writer has one
	}
	// The deadline is one of the connection, which knows only the clock of the machine.
	_ = b.rc.SetWriteDeadline(time.Now().Add(backupWriteTimeout))
	return b.w.Write(p)
}
