package pebblestore

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Defaults and fixed limits.
const (
	cacheBytesDefault    = 16 << 20
	memtableBytesDefault = 24 << 20
	memtablesMax         = 4 // more full ones hold up commits
	lowWaterBytesDefault = 64 << 20
	intervalDefault      = time.Second
	queueLenMax          = 64 // commits that wait for a stage
	openFilesMax         = 256
)

// Options tune a [Store]; the zero value works.
type Options struct {
	Log           *slog.Logger  // nil: nothing is logged
	CacheBytes    int64         // memory for blocks read from disk; 16 MiB
	MemtableBytes uint64        // size at which what was committed is sorted and written to a file of its own; 24 MiB
	Interval      time.Duration // between looks at the free space, and between renewals of the head file; 1 s
	// LowWaterBytes of free disk below which commits answer KindFull. It must leave
	// room for what is in memory; 64 MiB and twice all memtables.
	LowWaterBytes uint64
	// FreeSpace tells the free bytes; nil: what the file system says.
	FreeSpace func() (uint64, error)
	// FS is the file system; nil: that of the machine.
	FS vfs.FS
	// Memory keeps all in memory, and nothing after the end; FS and FreeSpace have to be
	// nil.
	Memory bool
	// NoSync acknowledges commits before they are synced. Data is lost in a power
	// cut: it exists to prove that the crash tests can fail.
	NoSync bool
}

// Validate names all faults at once.
func (o *Options) Validate() error {
	var faults []string
	if o.CacheBytes < 0 {
		faults = append(faults, fmt.Sprintf("CacheBytes %d is negative", o.CacheBytes))
	}
	if o.MemtableBytes != 0 && (o.MemtableBytes < 64<<10 || o.MemtableBytes > 1<<30) {
		faults = append(faults, fmt.Sprintf("MemtableBytes %d is not within 64 KiB and 1 GiB", o.MemtableBytes))
	}
	if o.Interval < 0 {
		faults = append(faults, fmt.Sprintf("Interval %s is negative", o.Interval))
	}
	if len(faults) != 0 {
		return fmt.Errorf("store options: %s", strings.Join(faults, "; "))
	}
	return nil
}

// filled returns the options with defaults in place of zeros.
func (o Options) filled(dir string) Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = cacheBytesDefault
	}
	if o.MemtableBytes == 0 {
		o.MemtableBytes = memtableBytesDefault
	}
	if o.Interval == 0 {
		o.Interval = intervalDefault
	}
	if o.LowWaterBytes == 0 {
		o.LowWaterBytes = lowWaterBytesDefault + 2*memtablesMax*o.MemtableBytes
	}
	if o.Memory {
		o.FS, o.FreeSpace = vfs.NewMem(), endless
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.FreeSpace == nil {
		fs := o.FS
		o.FreeSpace = func() (uint64, error) {
			usage, err := fs.GetDiskUsage(dir)
			return usage.AvailBytes, err
		}
	}
	return o
}

// endless is the free space of a store in memory, whose limit is another.
func endless() (uint64, error) { return math.MaxInt64, nil }

// engine returns Pebble's options. The cache's reference belongs to the caller.
func (o *Options) engine(fs vfs.FS, f *fence) *pebble.Options {
	opts := &pebble.Options{
		FS:                 fs,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             &engineLogger{o.Log, f},
		EventListener:      events(o.Log, f),
		// Pebble accounts for its memtables within the cache. Without room for them
		// the cache would hold nothing at all.
		CacheSize:                   o.CacheBytes + memtablesMax*int64(o.MemtableBytes),
		MemTableSize:                o.MemtableBytes,
		MemTableStopWritesThreshold: memtablesMax,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               256 << 20,
		MaxOpenFiles:                openFilesMax,
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	// The last level holds nearly all and is read for long: it is packed well. What
	// is above it is written again soon: it is packed fast.
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings {
		c := pebble.UniformDBCompressionSettings(block.FastestCompression)
		c.Name = "twofold"
		c.Levels[len(c.Levels)-1] = block.GoodCompression
		return c
	})
	for i := range opts.Levels {
		opts.Levels[i].BlockSize = 16 << 10
		if i == len(opts.Levels)-1 {
			opts.Levels[i].BlockSize = 64 << 10
		}
		opts.Levels[i].IndexBlockSize = 64 << 10
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // a thing that never was costs no read
	}
	return opts
}

// engineLogger takes what Pebble has to say.
type engineLogger struct {
	log   *slog.Logger
	fence *fence
}

// Infof drops the chatter about flushes and compactions.
func (*engineLogger) Infof(string, ...any) {}

func (l *engineLogger) Errorf(format string, args ...any) {
	l.log.Error("storage engine", "message", fmt.Sprintf(format, args...))
}

// Fatalf must not return, and the process is not Pebble's to end: it fences the
// store and parks the goroutine with whatever locks it holds.
func (l *engineLogger) Fatalf(format string, args ...any) {
	l.fence.trip(fmt.Errorf(format, args...))
	select {}
}

// events returns the listener for what goes wrong in the background.
func events(log *slog.Logger, f *fence) *pebble.EventListener {
	return &pebble.EventListener{
		// Pebble would try again, at once and for ever.
		BackgroundError: func(err error) {
			f.trip(err)
			_ = f.stop()
		},
		// The reader that met the damage gets the error. What is whole can still be
		// read and written, so this alone does not stop the store.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			log.Error("data on disk is damaged, restore the data folder from a backup",
				"file", info.Path, "details", info.Details)
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			log.Warn("disk is slow", "file", info.Path, "operation", info.OpType.String(), "duration", info.Duration)
		},
	}
}
