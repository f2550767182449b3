package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/twin"
)

// fence stops the store at the first write or sync that fails.
//
// After a failed fsync nobody knows what is on the disk, and a second fsync may
// report success for pages the kernel has already dropped. Pebble, for its part,
// answers a failed log write by Logger.Fatalf, or by a panic while it holds locks.
// So the error never gets that far: [fencedFS] trips the fence and parks the
// goroutine that got it, for good; whoever waits for a commit sees the closed
// channel and gives up; nothing is written any more; and a restart recovers what
// was synced, which is all that was acknowledged.
type fence struct {
	ch   chan struct{}
	park atomic.Bool // set before Pebble is at work; the errors before that are returned

	mu  sync.Mutex
	err error
}

func newFence() *fence { return &fence{ch: make(chan struct{})} }

// trip fences the store; the first cause is kept.
func (f *fence) trip(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return
	}
	fault := &twin.Error{
		Kind: twin.KindUnavailable, Err: err,
		Message: "the store has stopped after an I/O error",
		Hint:    "check the disk and the kernel log, then start the server again: all that was acknowledged is there",
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		fault.Hint = "the disk is full: free some space, then start the server again"
	case pebble.IsCorruptionError(err):
		fault.Message, fault.Hint = "the store has stopped because data on disk is damaged", hintBackup
		fault.Err = errFile(err)
	}
	f.err = fault
	close(f.ch)
}

// fault returns why the store is fenced, nil if it is not.
func (f *fence) fault() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// tripped reports whether the store is fenced; it is cheap.
func (f *fence) tripped() bool {
	select {
	case <-f.ch:
		return true
	default:
		return false
	}
}

// stop parks the calling goroutine for ever, or, before Pebble is at work, returns
// the fault.
func (f *fence) stop() error {
	if f.park.Load() {
		select {}
	}
	return f.fault()
}

// guard runs an operation that changes the disk, unless the store is fenced.
func (f *fence) guard(op, name string, do func() error) error {
	if f.tripped() {
		return f.stop()
	}
	if err := do(); err != nil {
		f.trip(fmt.Errorf("%s %s: %w", op, name, err))
		return f.stop()
	}
	return nil
}

// fencedFS is the file system that Pebble and the head file see.
type fencedFS struct {
	vfs.FS
	fence *fence
}

func (f *fencedFS) file(op, name string, do func() (vfs.File, error)) (file vfs.File, err error) {
	err = f.fence.guard(op, name, func() error {
		file, err = do()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &fencedFile{file, f.fence, name}, nil
}

// Create syncs the folder of a new manifest at once. Pebble moves the marker that
// names the manifest before it syncs the folder that holds both, so a power cut could
// leave a marker that names no file, and the store would not open.
func (f *fencedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.file("create", name, func() (vfs.File, error) { return f.FS.Create(name, c) })
	if err != nil || !strings.HasPrefix(f.PathBase(name), "MANIFEST-") {
		return file, err
	}
	if err := f.syncDir(f.PathDir(name)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (f *fencedFS) syncDir(dir string) error {
	d, err := f.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *fencedFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.file("open", name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, opts...) })
}

func (f *fencedFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file("reuse", newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f *fencedFS) OpenDir(name string) (vfs.File, error) {
	d, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &fencedFile{d, f.fence, name}, nil
}

func (f *fencedFS) Link(oldname, newname string) error {
	return f.fence.guard("link", newname, func() error { return f.FS.Link(oldname, newname) })
}

func (f *fencedFS) Rename(oldname, newname string) error {
	return f.fence.guard("rename", newname, func() error { return f.FS.Rename(oldname, newname) })
}

func (f *fencedFS) MkdirAll(dir string, perm os.FileMode) error {
	return f.fence.guard("make folder", dir, func() error { return f.FS.MkdirAll(dir, perm) })
}

// Remove and RemoveAll fail without harm, but a fenced store removes nothing.
func (f *fencedFS) Remove(name string) error {
	if f.fence.tripped() {
		return f.fence.stop()
	}
	return f.FS.Remove(name)
}

func (f *fencedFS) RemoveAll(name string) error {
	if f.fence.tripped() {
		return f.fence.stop()
	}
	return f.FS.RemoveAll(name)
}

func (f *fencedFS) Lock(name string) (io.Closer, error) {
	if f.fence.tripped() {
		return nil, f.fence.stop()
	}
	return f.FS.Lock(name)
}

func (f *fencedFS) Unwrap() vfs.FS { return f.FS }

type fencedFile struct {
	vfs.File
	fence *fence
	name  string
}

func (f *fencedFile) Write(p []byte) (n int, err error) {
	err = f.fence.guard("write", f.name, func() error { n, err = f.File.Write(p); return err })
	return n, err
}

func (f *fencedFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.fence.guard("write", f.name, func() error { n, err = f.File.WriteAt(p, off); return err })
	return n, err
}

func (f *fencedFile) Sync() error { return f.fence.guard("sync", f.name, f.File.Sync) }

func (f *fencedFile) SyncData() error { return f.fence.guard("sync", f.name, f.File.SyncData) }

func (f *fencedFile) SyncTo(length int64) (full bool, err error) {
	err = f.fence.guard("sync", f.name, func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

func (f *fencedFile) Close() error { return f.fence.guard("close", f.name, f.File.Close) }
