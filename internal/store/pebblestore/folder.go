package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// What is in the data folder; docs/format/store.md has the bytes.
const (
	lockFile   = "LOCK"
	formatFile = "FORMAT"
	headFile   = "HEAD"
	engineDir  = "log"
)

// formatStamp says how the folder is laid out. Another one is refused.
const formatStamp = "twofold store 2\n"

const smallFileBytesMax = 4096

// openFolder checks the version stamp and returns the recorded head. A new folder
// gets both, the stamp last: where it is, the head file must be.
func (s *Store) openFolder() (recorded store.Pos, fresh bool, err error) {
	stamp, err := s.readSmall(formatFile)
	if errors.Is(err, os.ErrNotExist) {
		return 0, true, s.makeFolder()
	}
	if err != nil {
		return 0, false, fmt.Errorf("read format of the data folder: %w", err)
	}
	if string(stamp) != formatStamp {
		return 0, false, &twin.Error{
			Message: fmt.Sprintf("data folder %s has the unknown format %.40q; this server knows %q", s.dir, stamp, formatStamp),
			Hint:    "use the version of the server that wrote it",
		}
	}
	head, err := s.readSmall(headFile)
	if err != nil {
		return 0, false, errLog(fmt.Errorf("read head file: %w", err))
	}
	pos, err := parseHeadFile(head)
	if err != nil {
		return 0, false, errLog(err)
	}
	// A folder that never saw a commit may have been left before Pebble was set up.
	return pos, pos == 0, nil
}

// makeFolder sets up a new folder. One that holds something else is left alone.
func (s *Store) makeFolder() error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return fmt.Errorf("list data folder: %w", err)
	}
	// An empty volume may have a lost+found.
	ours := []string{lockFile, headFile, headFile + temporary, formatFile + temporary, "lost+found"}
	for _, n := range names {
		if !slices.Contains(ours, n) {
			return &twin.Error{
				Message: fmt.Sprintf("data folder %s holds %q but no %s file: it is not of this server, or damaged", s.dir, n, formatFile),
				Hint:    "choose an empty or new folder",
			}
		}
	}
	if err := s.writeSmall(headFile, appendHeadFile(nil, 0)); err != nil {
		return err
	}
	if err := s.writeSmall(formatFile, []byte(formatStamp)); err != nil {
		return err
	}
	// The folder itself may be new. One whose parent cannot be read was made by somebody else.
	if err := s.fs.syncDir(s.fs.PathDir(s.dir)); err != nil && !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil
}

// writeHead records the durable position. The log has been synced up to it
// before, so the record is never ahead.
func (s *Store) writeHead() error {
	pos := s.durable.load()
	if s.opts.NoSync {
		return nil // nothing is known to be durable
	}
	if err := s.writeSmall(headFile, appendHeadFile(nil, pos)); err != nil {
		return fmt.Errorf("record head: %w", err)
	}
	s.headAt = pos
	return nil
}

// The head file: "TFHD", a format byte, the position, and a CRC-32C of all that.
const (
	headMagic     = "TFHD"
	headFormat    = 1
	headFileBytes = len(headMagic) + 1 + 8 + 4
)

func appendHeadFile(dst []byte, pos store.Pos) []byte {
	start := len(dst)
	dst = append(dst, headMagic...)
	dst = append(dst, headFormat)
	dst = binary.BigEndian.AppendUint64(dst, uint64(pos))
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func parseHeadFile(b []byte) (store.Pos, error) {
	if len(b) != headFileBytes || !bytes.HasPrefix(b, []byte(headMagic)) {
		return 0, errors.New("the head file is not one")
	}
	body, sum := b[:headFileBytes-4], b[headFileBytes-4:]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(sum) {
		return 0, errors.New("the checksum of the head file is wrong")
	}
	if f := b[len(headMagic)]; f != headFormat {
		return 0, fmt.Errorf("the head file has the unknown format %d", f)
	}
	return store.Pos(binary.BigEndian.Uint64(b[len(headMagic)+1:])), nil
}

const temporary = ".new"

// writeSmall replaces a file as a whole: it is the old one or the new one, also
// after a power cut.
func (s *Store) writeSmall(name string, data []byte) error {
	path := s.fs.PathJoin(s.dir, name)
	f, err := s.fs.Create(path+temporary, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.fs.Rename(path+temporary, path); err != nil {
		return err
	}
	return s.fs.syncDir(s.dir)
}

func (s *Store) readSmall(name string) ([]byte, error) {
	f, err := s.fs.Open(s.fs.PathJoin(s.dir, name))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, smallFileBytesMax))
	return data, errors.Join(err, f.Close())
}
