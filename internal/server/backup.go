package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/twofold-iot/twofold/internal/store/pebblestore"
)

// BackupReport says what a backup holds.
type BackupReport = pebblestore.BackupReport

// BackupProgress says how far a backup, a check or a restore is.
type BackupProgress = pebblestore.BackupProgress

// backup streams the store of the running server.
func (s *Server) backup(ctx context.Context, w io.Writer) error {
	start := time.Now()
	r, err := s.store.Backup(ctx, w, pebblestore.BackupOptions{At: start})
	if err != nil {
		return err
	}
	s.log.Info("backup written", "position", r.Position, "files", r.Files, "bytes", r.Bytes, "duration", time.Since(start))
	return nil
}

// Backup streams the store of a server that does not run.
func (o *Offline) Backup(ctx context.Context, w io.Writer, progress func(BackupProgress)) (BackupReport, error) {
	return o.store.Backup(ctx, w, pebblestore.BackupOptions{At: time.Now(), Progress: progress})
}

// VerifyBackup checks a backup without writing anything.
func VerifyBackup(ctx context.Context, r io.Reader, progress func(BackupProgress)) (BackupReport, error) {
	return pebblestore.VerifyBackup(ctx, r, progress)
}

// Restore makes the data folder of a backup; it must be new or empty.
func Restore(ctx context.Context, r io.Reader, dir string, log *slog.Logger, progress func(BackupProgress)) (BackupReport, error) {
	report, err := pebblestore.Restore(ctx, r, dir, pebblestore.RestoreOptions{
		Store: pebblestore.Options{Log: log}, Progress: progress,
	})
	if err != nil {
		return report, fmt.Errorf("restore to %s: %w", dir, err)
	}
	return report, nil
}
