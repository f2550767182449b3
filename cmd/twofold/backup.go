package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/internal/server"
)

// unfinished is the end of the name of a backup that is being written.
const unfinished = ".new"

func newBackup() *cobra.Command {
	r, o := &remote{}, &offline{}
	force := false
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all data to one file, while the server runs",
		Long: "Write all data of a running server to one file with checksums; - is standard output. With --data the data\n" +
			"folder of a stopped server is read instead. All that was acknowledged before the begin is in it. The file\n" +
			"gets its name when it is whole and checked.",
		Example: "  twofold backup twofold-2026-11-22.backup\n  twofold backup - | ssh store 'cat > twofold.backup'",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if cmd.Flags().Changed("data") && cmd.Flags().Changed("server") {
				return &usageError{errors.New("--data is a stopped server's folder and --server a running one: give one of them")}
			}
			take := r.backup
			if cmd.Flags().Changed("data") {
				take = o.backup
			}
			return writeBackup(cmd, a[0], force, take)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it is there")
	r.addServer(cmd)
	o.add(cmd)
	return cmd
}

// taker writes a backup.
type taker func(ctx context.Context, cmd *cobra.Command, w io.Writer) error

func (r *remote) backup(ctx context.Context, _ *cobra.Command, w io.Writer) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	return explain(c.Backup(ctx, w))
}

func (o *offline) backup(_ context.Context, cmd *cobra.Command, w io.Writer) error {
	return o.with(cmd, func(ctx context.Context, s *server.Offline) error {
		_, err := s.Backup(ctx, w, nil)
		return err
	})
}

// writeBackup writes a backup under a name of its own until it is whole.
func writeBackup(cmd *cobra.Command, path string, force bool, take taker) (err error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if path == "-" {
		report, err := checked(ctx, cmd, cmd.OutOrStdout(), take)
		if err == nil {
			_, err = fmt.Fprintln(cmd.ErrOrStderr(), backupSummary(&report))
		}
		return err
	}
	if _, err := os.Lstat(path); err == nil && !force {
		return fmt.Errorf("%s is there already; choose another name or give --force", path)
	}
	f, err := os.OpenFile(path+unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make the file: %w; if no other backup runs, remove it", err)
	}
	report, err := checked(ctx, cmd, f, take)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+unfinished, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+unfinished))
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", path, backupSummary(&report))
	return err
}

// checked checks a backup as it is written, so that a file is whole when it gets its name.
func checked(ctx context.Context, cmd *cobra.Command, w io.Writer, take taker) (server.BackupReport, error) {
	type outcome struct {
		report server.BackupReport
		err    error
	}
	pr, pw := io.Pipe()
	result := make(chan outcome, 1)
	progress, done := backupProgress(cmd.ErrOrStderr())
	go func() {
		report, err := server.VerifyBackup(ctx, pr, progress)
		_ = pr.CloseWithError(err) // the writer learns of it; it never fails
		result <- outcome{report, err}
	}()
	err := take(ctx, cmd, io.MultiWriter(w, pw))
	_ = pw.CloseWithError(err) // nil is the end; it never fails
	out := <-result
	done()
	if err != nil {
		return out.report, err
	}
	return out.report, out.err
}

func backupSummary(r *server.BackupReport) string {
	return fmt.Sprintf("position %d, %d files, %s, of %s", r.Position, r.Files, megabytes(r.Bytes), local(r.Time))
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// backupProgress writes how far a backup is: over itself on a terminal, else a line every
// 10 seconds.
func backupProgress(w io.Writer) (progress func(server.BackupProgress), done func()) {
	every, start, end := 10*time.Second, "", "\n"
	if terminal(w) {
		every, start, end = 500*time.Millisecond, "\r\x1b[K", ""
	}
	began := time.Now()
	last, told := began, false
	return func(p server.BackupProgress) {
			now := time.Now()
			if now.Sub(last) < every {
				return
			}
			last, told = now, true
			rate := float64(p.Done) / now.Sub(began).Seconds()
			left := time.Duration(float64(p.Total-p.Done) / rate * float64(time.Second)).Round(time.Second)
			_, _ = fmt.Fprintf(w, "%s%s of %s, %.1f MB a second, %s left%s", start, megabytes(p.Done), megabytes(p.Total), rate/1e6, left, end)
		}, func() {
			if told && start != "" {
				_, _ = io.WriteString(w, start)
			}
		}
}
