package pebblestore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// backupDir holds hard links to the files of a backup while it is written.
const backupDir = "backup.new"

// BackupOptions tune [Store.Backup].
type BackupOptions struct {
	At       time.Time            // the time that is written down
	Progress func(BackupProgress) // nil: none
}

// Backup writes the store as one stream while it is in use. What was acknowledged before
// the call is in it, and no commit in part; a later commit may be in it too, if all
// before it are. Without an error the backup is whole. The files are hard links until
// the stream has ended, so what is deleted meanwhile takes room until then.
//
// There is one backup at a time; a second is refused with KindConflict.
func (s *Store) Backup(ctx context.Context, w io.Writer, opts BackupOptions) (BackupReport, error) {
	if err := s.enter(ctx); err != nil {
		return BackupReport{}, err
	}
	defer s.exit()
	if !s.backingUp.TryLock() {
		return BackupReport{}, twin.NewError(twin.KindConflict, "a backup is being written already; wait for its end")
	}
	defer s.backingUp.Unlock()
	if s.Space().ReadOnly {
		return BackupReport{}, twin.NewError(twin.KindFull, "the disk is too full for a backup; free some space")
	}
	// All that is acknowledged by now is synced, so it is in the log that is copied.
	position := s.durable.load()
	dir := s.opts.FS.PathJoin(s.dir, backupDir)
	if err := s.checkpoint(dir); err != nil {
		return BackupReport{}, err
	}
	b := &backupWriter{store: s, ctx: ctx, opts: &opts, frames: frameWriter{w: w, sum: sha256.New()}}
	report, err := b.write(dir, uint64(position))
	if rerr := s.opts.FS.RemoveAll(dir); rerr != nil {
		err = errors.Join(err, fmt.Errorf("remove %s: %w", dir, rerr))
	}
	return report, err
}

// checkpoint links the files of Pebble into a folder. A fault fences the store, as with
// all that Pebble writes, and its goroutine is left parked.
func (s *Store) checkpoint(dir string) error {
	if err := s.probeLinks(dir); err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() { result <- s.db.Checkpoint(dir, pebble.WithFlushedWAL()) }()
	select {
	case err := <-result:
		if err != nil {
			return fmt.Errorf("make a checkpoint for the backup: %w", errors.Join(err, s.opts.FS.RemoveAll(dir)))
		}
		return nil
	case <-s.fence.ch:
		return s.fence.fault()
	}
}

// probeLinks finds out whether there are hard links here, before Pebble does: a link that
// fails on its way would stop the store.
func (s *Store) probeLinks(dir string) error {
	fs := s.opts.FS
	if err := fs.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove what an earlier backup left: %w", err)
	}
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make a folder for the backup: %w", err)
	}
	err := fs.Link(fs.PathJoin(s.dir, formatFile), fs.PathJoin(dir, formatFile))
	if rerr := fs.RemoveAll(dir); rerr != nil {
		return fmt.Errorf("remove %s: %w", dir, rerr)
	}
	if err != nil {
		return &twin.Error{
			Message: "no hard links can be made in data folder " + s.dir, Err: err,
			Hint: "stop the server and copy its data folder, or move that to a file system with hard links",
		}
	}
	return nil
}

// removeLeftovers removes what a backup or a restore that ended by a crash has left.
func (s *Store) removeLeftovers() error {
	for _, name := range []string{backupDir, restoreDir} {
		if err := s.opts.FS.RemoveAll(s.opts.FS.PathJoin(s.dir, name)); err != nil {
			return fmt.Errorf("remove what is left of a backup or restore: %w", err)
		}
	}
	return nil
}

// backupWriter writes one backup.
type backupWriter struct {
	store  *Store
	ctx    context.Context //nolint:containedctx // of this one call, looked at between chunks
	opts   *BackupOptions
	frames frameWriter
	head   backupHead
	done   int64
	buf    []byte
}

func (b *backupWriter) write(dir string, position uint64) (BackupReport, error) {
	fs := b.store.opts.FS
	names, err := fs.List(dir)
	if err != nil {
		return BackupReport{}, fmt.Errorf("list the checkpoint: %w", err)
	}
	slices.Sort(names)
	headBytes := appendHeadFile(nil, store.Pos(position))
	files := make([]backupFile, 0, len(names))
	b.head = backupHead{
		Store: strings.TrimSuffix(formatStamp, "\n"), Position: position, Time: b.opts.At.UTC(),
		Files: len(names) + 2, Bytes: int64(len(formatStamp) + len(headBytes)),
	}
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return BackupReport{}, fmt.Errorf("look at the checkpoint: %w", err)
		}
		files = append(files, backupFile{engineDir + "/" + name, info.Size()})
		b.head.Bytes += info.Size()
	}
	if err := b.frames.raw([]byte(backupStamp)); err != nil {
		return BackupReport{}, err
	}
	if err := b.frames.json(frameHead, b.head); err != nil {
		return BackupReport{}, err
	}
	if err := b.file(backupFile{formatFile, int64(len(formatStamp))}, strings.NewReader(formatStamp)); err != nil {
		return BackupReport{}, err
	}
	if err := b.file(backupFile{headFile, int64(len(headBytes))}, strings.NewReader(string(headBytes))); err != nil {
		return BackupReport{}, err
	}
	for i, f := range files {
		if err := b.open(f, fs.PathJoin(dir, names[i])); err != nil {
			return BackupReport{}, err
		}
	}
	if err := b.frames.frame(frameEnd, b.frames.sum.Sum(nil)); err != nil {
		return BackupReport{}, err
	}
	return BackupReport{Position: position, Time: b.head.Time, Files: b.head.Files, Bytes: b.done}, nil
}

func (b *backupWriter) open(f backupFile, path string) error {
	file, err := b.store.opts.FS.Open(path)
	if err != nil {
		return fmt.Errorf("open %s for the backup: %w", f.Name, err)
	}
	return errors.Join(b.file(f, file), file.Close())
}

// file writes one file: its name, its bytes, its hash.
func (b *backupWriter) file(f backupFile, r io.Reader) error {
	if err := b.frames.json(frameFile, f); err != nil {
		return err
	}
	if b.buf == nil {
		b.buf = make([]byte, frameBytesMax)
	}
	sum := sha256.New()
	for rest := f.Size; rest > 0; {
		if err := b.stopped(); err != nil {
			return err
		}
		chunk := b.buf[:min(rest, int64(len(b.buf)))]
		if _, err := io.ReadFull(r, chunk); err != nil {
			return fmt.Errorf("read %s for the backup, %d bytes before its end: %w", f.Name, rest, err)
		}
		sum.Write(chunk)
		if err := b.frames.frame(frameData, chunk); err != nil {
			return err
		}
		rest -= int64(len(chunk))
		b.done += int64(len(chunk))
		if b.opts.Progress != nil {
			b.opts.Progress(BackupProgress{b.done, b.head.Bytes})
		}
	}
	return b.frames.frame(frameFileEnd, sum.Sum(nil))
}

// stopped says why a backup cannot go on: a store that closes does not wait for it.
func (b *backupWriter) stopped() error {
	select {
	case <-b.ctx.Done():
		return errGaveUp(b.ctx)
	case <-b.store.quit:
		return errClosed()
	case <-b.store.fence.ch:
		return b.store.fence.fault()
	default:
		return nil
	}
}
