package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/twin"
)

// restoreDir holds a restored store until all of it is checked.
const restoreDir = "restore.new"

// RestoreOptions tune [Restore].
type RestoreOptions struct {
	Store    Options              // with which what is restored is opened, once, to check it
	Progress func(BackupProgress) // nil: none
}

// Restore makes a data folder of a backup. The folder must be new or empty. The files
// are written to a folder in it, checked, synced, and opened as a store; then they
// are put in place, FORMAT last, without which a folder is no store. After an error
// nothing is left. The position of the report is that of the restored store.
func Restore(ctx context.Context, r io.Reader, dir string, opts RestoreOptions) (report BackupReport, err error) {
	fs := opts.Store.filled(dir).FS
	rs := &restore{fs: fs, dir: dir, temp: fs.PathJoin(dir, restoreDir)}
	if err := rs.take(); err != nil {
		return report, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, rs.undo())
		}
		err = errors.Join(err, rs.lock.Close())
	}()
	if err := fs.MkdirAll(fs.PathJoin(rs.temp, engineDir), 0o750); err != nil {
		return report, fmt.Errorf("make a folder to restore to: %w", err)
	}
	report, err = readBackup(ctx, r, rs, opts.Progress)
	if rs.file != nil {
		err = errors.Join(err, rs.file.Close())
	}
	if err != nil {
		return report, err
	}
	if err := rs.sync(rs.temp, fs.PathJoin(rs.temp, engineDir)); err != nil {
		return report, err
	}
	if err := rs.check(ctx, opts.Store, &report); err != nil {
		return report, err
	}
	return report, rs.place()
}

// restore is the work of one [Restore].
type restore struct {
	fs        vfs.FS
	dir, temp string
	made      bool // the folder was not there
	lock      io.Closer
	file      vfs.File
}

// take makes the folder this restore's own.
func (rs *restore) take() error {
	if err := rs.empty(); err != nil {
		return err
	}
	if err := rs.fs.MkdirAll(rs.dir, 0o750); err != nil {
		return fmt.Errorf("make data folder %s: %w", rs.dir, err)
	}
	lock, err := rs.fs.Lock(rs.fs.PathJoin(rs.dir, lockFile))
	if err != nil {
		return &twin.Error{Message: "lock data folder " + rs.dir, Hint: "choose a folder that no server and no other restore uses", Err: err}
	}
	rs.lock = lock
	if err := rs.empty(); err != nil { // somebody may have been faster
		return errors.Join(err, lock.Close())
	}
	for _, name := range []string{restoreDir, engineDir, headFile} { // of a restore that a crash has ended
		if err := rs.fs.RemoveAll(rs.fs.PathJoin(rs.dir, name)); err != nil {
			return errors.Join(fmt.Errorf("remove what an earlier restore left: %w", err), lock.Close())
		}
	}
	return nil
}

// empty checks that the folder is not there, or holds nothing, or only what a restore
// that was cut off has left.
func (rs *restore) empty() error {
	names, err := rs.fs.List(rs.dir)
	if errors.Is(err, os.ErrNotExist) {
		rs.made = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("list folder %s: %w", rs.dir, err)
	}
	ours := []string{lockFile, "lost+found"}
	if slices.Contains(names, restoreDir) {
		ours = append(ours, restoreDir, engineDir, headFile)
	}
	for _, n := range names {
		if !slices.Contains(ours, n) {
			return &twin.Error{
				Kind: twin.KindInvalid, Message: fmt.Sprintf("folder %s is not empty: it holds %q", rs.dir, n),
				Hint: "restore to a new or empty folder, then start the server with it",
			}
		}
	}
	return nil
}

func (rs *restore) create(name string) (err error) {
	rs.file, err = rs.fs.Create(rs.fs.PathJoin(rs.temp, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("restore %s: %w", name, err)
	}
	return nil
}

func (rs *restore) write(b []byte) error {
	if _, err := rs.file.Write(b); err != nil {
		return fmt.Errorf("restore to %s: %w", rs.dir, err)
	}
	return nil
}

func (rs *restore) finish() error {
	err := errors.Join(rs.file.Sync(), rs.file.Close())
	rs.file = nil
	if err != nil {
		return fmt.Errorf("restore to %s: %w", rs.dir, err)
	}
	return nil
}

// check opens what was restored, which compares the end of its log with HEAD.
func (rs *restore) check(ctx context.Context, opts Options, report *BackupReport) error {
	s, err := Open(rs.temp, opts)
	if err != nil {
		return fmt.Errorf("open what was restored: %w", err)
	}
	pos, err := s.Head(ctx)
	if err := errors.Join(err, s.Close()); err != nil {
		return fmt.Errorf("open what was restored: %w", err)
	}
	report.Position = uint64(pos)
	return nil
}

// place moves the checked store to where it belongs.
func (rs *restore) place() error {
	for _, name := range []string{engineDir, headFile, formatFile} {
		if name == formatFile { // it makes the folder a store, so all else must be there before it
			if err := rs.sync(rs.dir); err != nil {
				return err
			}
		}
		if err := rs.fs.Rename(rs.fs.PathJoin(rs.temp, name), rs.fs.PathJoin(rs.dir, name)); err != nil {
			return fmt.Errorf("put %s in place: %w", name, err)
		}
	}
	if err := rs.fs.RemoveAll(rs.temp); err != nil {
		return fmt.Errorf("remove %s: %w", rs.temp, err)
	}
	dirs := []string{rs.dir}
	if rs.made {
		dirs = append(dirs, rs.fs.PathDir(rs.dir))
	}
	return rs.sync(dirs...)
}

func (rs *restore) sync(dirs ...string) error {
	for _, dir := range dirs {
		d, err := rs.fs.OpenDir(dir)
		if err == nil {
			err = errors.Join(d.Sync(), d.Close())
		}
		if err != nil {
			return fmt.Errorf("sync folder %s: %w", dir, err)
		}
	}
	return nil
}

// undo removes all that this restore has made, FORMAT first.
func (rs *restore) undo() error {
	var errs []error
	for _, name := range []string{formatFile, headFile, engineDir, restoreDir, lockFile} {
		errs = append(errs, rs.fs.RemoveAll(rs.fs.PathJoin(rs.dir, name)))
	}
	if rs.made {
		errs = append(errs, rs.fs.Remove(rs.dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what was restored in part: %w", err)
	}
	return nil
}
