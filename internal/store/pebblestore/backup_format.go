package pebblestore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// A backup is one file: a line that says what it is, then frames, each with a checksum.
// docs/format/backup.md has the bytes.
const (
	backupMagic  = "twofold backup "
	backupStamp  = backupMagic + "1\n"
	frameHead    = 'H' // what is kept, as JSON
	frameFile    = 'F' // a file begins, as JSON
	frameData    = 'D' // bytes of the file
	frameFileEnd = 'E' // SHA-256 of the file
	frameEnd     = 'Z' // SHA-256 of all before this frame
	// frameBytesMax is the longest payload of a frame.
	frameBytesMax  = 1 << 20
	frameHeadBytes = 5 // kind, length
	frameSumBytes  = 4
	backupFilesMax = 1 << 20
)

// BackupReport says what a backup holds.
type BackupReport struct {
	// Position of the store up to which everything is in it; later commits may be too.
	Position uint64
	Time     time.Time // when it was made
	Files    int
	Bytes    int64 // of the files
}

// BackupProgress says how far a backup, a check or a restore is, in bytes of the files.
type BackupProgress struct{ Done, Total int64 }

type backupHead struct {
	Store    string    `json:"store"`
	Position uint64    `json:"position"`
	Time     time.Time `json:"time"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
}

type backupFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// frameWriter writes frames and hashes everything it writes.
type frameWriter struct {
	w   io.Writer
	sum hash.Hash
	buf []byte
}

func (f *frameWriter) raw(b []byte) error {
	f.sum.Write(b) // never fails
	if _, err := f.w.Write(b); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}

func (f *frameWriter) frame(kind byte, payload []byte) error {
	f.buf = append(f.buf[:0], kind)
	f.buf = binary.BigEndian.AppendUint32(f.buf, uint32(len(payload))) //nolint:gosec // G115: at most frameBytesMax
	f.buf = append(f.buf, payload...)
	f.buf = binary.BigEndian.AppendUint32(f.buf, crc32.Checksum(f.buf, castagnoli))
	return f.raw(f.buf)
}

func (f *frameWriter) json(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return f.frame(kind, b)
}

// backupSink takes the files of a backup that is read.
type backupSink interface {
	create(name string) error
	write(b []byte) error
	finish() error
}

// noSink is for a backup that is only checked.
type noSink struct{}

func (noSink) create(string) error { return nil }
func (noSink) write([]byte) error  { return nil }
func (noSink) finish() error       { return nil }

// backupReader reads a backup and checks each of its bytes.
type backupReader struct {
	r        io.Reader
	sink     backupSink
	progress func(BackupProgress)
	sum      hash.Hash
	at       int64  // offset of the frame that is read
	next     int64  // offset after it
	file     string // that is read; empty between files
	buf      []byte
	head     backupHead
	seen     map[string]bool
	done     int64
}

const hintOther = "use another copy of it, or an older backup"

// fault is an error that says where in the backup it is.
func (b *backupReader) fault(format string, a ...any) error {
	where := fmt.Sprintf(" at byte %d", b.at)
	if b.file != "" {
		where += ", in " + b.file
	}
	return &twin.Error{Kind: twin.KindInvalid, Message: "the backup is " + fmt.Sprintf(format, a...) + where, Hint: hintOther}
}

// take reads the next n bytes.
func (b *backupReader) take(n int) ([]byte, error) {
	if cap(b.buf) < n {
		b.buf = make([]byte, n)
	}
	p := b.buf[:n]
	got, err := io.ReadFull(b.r, p)
	b.next += int64(got)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		b.at = b.next
		return nil, b.fault("cut short: it ends")
	case err != nil:
		return nil, fmt.Errorf("read the backup at byte %d: %w", b.next, err)
	}
	return p, nil
}

// frame reads a frame. Its payload is valid until the next.
func (b *backupReader) frame() (kind byte, payload []byte, err error) {
	b.at = b.next
	h, err := b.take(frameHeadBytes)
	if err != nil {
		return 0, nil, err
	}
	var head [frameHeadBytes]byte
	copy(head[:], h)
	n := binary.BigEndian.Uint32(head[1:])
	if n > frameBytesMax {
		return 0, nil, b.fault("damaged: a part of %d bytes", n)
	}
	p, err := b.take(int(n) + frameSumBytes)
	if err != nil {
		return 0, nil, err
	}
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, p[:n])
	if sum != binary.BigEndian.Uint32(p[n:]) {
		return 0, nil, b.fault("damaged: a checksum is wrong")
	}
	if head[0] != frameEnd {
		b.sum.Write(head[:])
		b.sum.Write(p)
	}
	return head[0], p[:n], nil
}

// frameOf reads a frame that must be of a kind, with JSON.
func (b *backupReader) frameOf(kind byte, into any) error {
	got, payload, err := b.frame()
	if err != nil {
		return err
	}
	if got != kind {
		return b.fault("damaged: part %q where %q must be", got, kind)
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return b.fault("damaged: part %q: %s", kind, err)
	}
	return nil
}

// readBackup reads a backup to its end, and gives its files to the sink.
func readBackup(ctx context.Context, r io.Reader, sink backupSink, progress func(BackupProgress)) (BackupReport, error) {
	b := &backupReader{r: r, sink: sink, progress: progress, sum: sha256.New(), seen: map[string]bool{}}
	if err := b.stamp(); err != nil {
		return BackupReport{}, err
	}
	if err := b.frameOf(frameHead, &b.head); err != nil {
		return BackupReport{}, err
	}
	if b.head.Store+"\n" != formatStamp {
		return BackupReport{}, &twin.Error{
			Kind:    twin.KindInvalid,
			Message: fmt.Sprintf("the backup is of the store format %.40q; this version knows %q", b.head.Store, strings.TrimSpace(formatStamp)),
			Hint:    "use the version of the server that wrote it",
		}
	}
	if b.head.Files < 0 || b.head.Files > backupFilesMax {
		return BackupReport{}, b.fault("damaged: it says it has %d files", b.head.Files)
	}
	for range b.head.Files {
		if err := b.readFile(ctx); err != nil {
			return BackupReport{}, err
		}
	}
	if err := b.end(); err != nil {
		return BackupReport{}, err
	}
	return BackupReport{Position: b.head.Position, Time: b.head.Time, Files: b.head.Files, Bytes: b.done}, nil
}

func (b *backupReader) stamp() error {
	p, err := b.take(len(backupStamp))
	switch {
	case err != nil && b.next < int64(len(backupMagic)) && twin.Kind(err) == twin.KindInvalid:
		return &twin.Error{Kind: twin.KindInvalid, Message: fmt.Sprintf("this is no backup: it has %d bytes", b.next), Hint: "give a file that `twofold backup` wrote"}
	case err != nil:
		return err
	case !strings.HasPrefix(string(p), backupMagic):
		return &twin.Error{Kind: twin.KindInvalid, Message: fmt.Sprintf("this is no backup: it begins with %.20q", p), Hint: "give a file that `twofold backup` wrote"}
	case string(p) != backupStamp:
		return &twin.Error{
			Kind:    twin.KindInvalid,
			Message: fmt.Sprintf("the backup has the unknown format %.20q; this version knows %q", p, strings.TrimSpace(backupStamp)),
			Hint:    "use the version of twofold that wrote it",
		}
	}
	b.sum.Write(p)
	return nil
}

// backupName checks what a file of a backup is called: nothing is written outside of the
// folder, whatever the file says.
func backupName(name string) bool {
	if name == formatFile || name == headFile {
		return true
	}
	base, ok := strings.CutPrefix(name, engineDir+"/")
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}
	return ok && base != "" && base[0] != '.' && !strings.ContainsFunc(base, odd)
}

func (b *backupReader) readFile(ctx context.Context) error {
	var f backupFile
	if err := b.frameOf(frameFile, &f); err != nil {
		return err
	}
	if !backupName(f.Name) || b.seen[f.Name] || f.Size < 0 {
		return b.fault("damaged: it has a file %.100q of %d bytes", f.Name, f.Size)
	}
	b.seen[f.Name], b.file = true, f.Name
	if err := b.sink.create(f.Name); err != nil {
		return err
	}
	sum := sha256.New()
	for rest := f.Size; ; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		kind, payload, err := b.frame()
		if err != nil {
			return err
		}
		switch {
		case kind == frameData && int64(len(payload)) <= rest:
			rest -= int64(len(payload))
			sum.Write(payload)
			if err := b.sink.write(payload); err != nil {
				return err
			}
			b.done += int64(len(payload))
			if b.progress != nil {
				b.progress(BackupProgress{b.done, b.head.Bytes})
			}
		case kind == frameFileEnd && rest == 0:
			if string(payload) != string(sum.Sum(nil)) {
				return b.fault("damaged: the SHA-256 of the file is wrong")
			}
			b.file = ""
			return b.sink.finish()
		default:
			return b.fault("damaged: part %q of %d bytes with %d bytes to come", kind, len(payload), rest)
		}
	}
}

// end checks that the backup is whole and that nothing follows.
func (b *backupReader) end() error {
	want := b.sum.Sum(nil)
	kind, payload, err := b.frame()
	switch {
	case err != nil:
		return err
	case kind != frameEnd:
		return b.fault("damaged: part %q where the end must be", kind)
	case string(payload) != string(want):
		return b.fault("damaged: the SHA-256 of the whole is wrong")
	case b.done != b.head.Bytes:
		return b.fault("damaged: %d bytes of files instead of %d", b.done, b.head.Bytes)
	}
	for _, name := range []string{formatFile, headFile} {
		if !b.seen[name] {
			return b.fault("damaged: there is no file %s", name)
		}
	}
	b.at = b.next
	var one [1]byte
	switch n, err := io.ReadFull(b.r, one[:]); {
	case n > 0:
		return b.fault("damaged: something follows its end")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read the backup at byte %d: %w", b.next, err)
	}
	return nil
}

// VerifyBackup reads a backup and checks all its checksums, without writing anything.
func VerifyBackup(ctx context.Context, r io.Reader, progress func(BackupProgress)) (BackupReport, error) {
	return readBackup(ctx, r, noSink{}, progress)
}
