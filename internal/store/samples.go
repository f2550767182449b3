package store

import (
	"context"

	"github.com/twofold-iot/twofold/twin"
)

// Telemetry is kept in two forms. It comes as rows, which are cheap to add in any
// order of their times; from time to time the rows of a thing are folded into columns,
// which are small and quick to read. What is in a column is the matter of whoever
// folds.

// RowNumber orders rows by their arrival: it counts up over all rows of the store, and of
// those of one AppendRows thing by thing.
type RowNumber uint64

// SampleRow is a row as it came. Values is the encoding of [twin.Row.AppendValues].
type SampleRow struct {
	Number  RowNumber // given by the store
	Thing   twin.ThingName
	Time    twin.Time
	Arrival twin.Time
	Values  []byte
}

// SampleClass is a retention class of columns: what expires together. The numbers
// are on disk.
type SampleClass uint8

// The classes of columns.
const (
	ClassSamples SampleClass = 0 // the samples themselves
	ClassRollups SampleClass = 1
)

// SampleLevel is how far the samples in a column are condensed. The numbers are on disk.
type SampleLevel uint8

// The levels.
const (
	LevelSamples SampleLevel = 0
	LevelMinutes SampleLevel = 1
	LevelHours   SampleLevel = 2
	LevelDays    SampleLevel = 3
)

// Series is one metric of a thing in one type.
type Series struct {
	Metric twin.MetricName
	Type   twin.ValueType
}

// Column is a piece of a series: a level of it from a time on, within one UTC day.
type Column struct {
	Class SampleClass
	Level SampleLevel
	Series
	Start twin.Time
	Data  []byte // nil: to be deleted
}

// ColumnRange selects columns of a series by their start.
type ColumnRange struct {
	Thing twin.ThingName
	Class SampleClass
	Level SampleLevel
	Series
	From, To twin.Time // From <= start < To
}

// SeriesInfo is what is kept of a series as a whole.
type SeriesInfo struct {
	Series
	Data []byte
}

// SampleFold turns rows of a thing into columns.
type SampleFold struct {
	Thing   twin.ThingName
	Through RowNumber // the rows of the thing up to this one are deleted
	Columns []Column
	Infos   []SeriesInfo
}

// SampleWriter changes telemetry.
type SampleWriter interface {
	// AppendRows adds rows. With durable set it returns when they are synced, else
	// at once; then a crash may lose them. Errors are those of [Writer.Commit]. The
	// memory of the rows may be used again after the return.
	AppendRows(ctx context.Context, rows []SampleRow, durable bool) error
	// Fold does what f says, all of it or nothing. It waits for no sync: a crash may
	// undo it. Rows that are appended while it runs stay. One fold of a thing runs
	// at a time; that is the caller's duty.
	Fold(ctx context.Context, f SampleFold) error
	// DropColumns deletes the columns of a class of all days before one, and gives the
	// room on the disk back.
	DropColumns(ctx context.Context, class SampleClass, before uint32) error
	// TrimColumns deletes the columns of a class on a day of the series that drop says
	// yes to, and returns of how many series that were.
	TrimColumns(ctx context.Context, class SampleClass, day uint32, drop func(twin.ThingName, Series) bool) (int, error)
}

// SampleReader reads telemetry. Rows that came with durable set are waited for if
// they are still being synced; others may be seen before they are.
type SampleReader interface {
	// Rows returns the rows of a thing that are not folded, in order of arrival, with
	// numbers greater than after.
	Rows(ctx context.Context, thing twin.ThingName, after RowNumber, limit int) ([]SampleRow, error)
	// RowThings lists the things that have rows, by name, greater than after.
	RowThings(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error)
	// Columns returns columns in order of their start.
	Columns(ctx context.Context, r ColumnRange) ([]Column, error)
	// ColumnDays lists the days on which a class has columns, oldest first.
	ColumnDays(ctx context.Context, class SampleClass) ([]DayStats, error)
	// SeriesOf lists the series of a thing that have been folded, by metric and type.
	SeriesOf(ctx context.Context, thing twin.ThingName) ([]SeriesInfo, error)
}

// Samples keeps telemetry.
type Samples interface {
	SampleWriter
	SampleReader
}
