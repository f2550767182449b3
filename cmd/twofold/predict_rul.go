package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/internal/rul"
)

func newPredictRUL() *cobra.Command {
	var train, test, unit, at, out string
	limit := 0.0
	cmd := &cobra.Command{
		Use:   "rul --train FILE --test FILE --unit COL --time COL",
		Short: "Say how long things still live, by lives that ended",
		Long: "Learn from the lives in one CSV file, each of which ended with its last row, and say what is left of those in another\n" +
			"after theirs: a row for each, with the interval that holds it with 50 and 90 %, and the past lives that were most alike.\n" +
			"All columns but unit and time are measurements. The unit of the time is that of the answer. How good it is on lives\n" +
			"that it had not seen goes to standard error.",
		Example: "  twofold predict rul --train failed.csv --test running.csv --unit pump --time hours\n  twofold predict rul --train failed.csv --test running.csv --unit pump --time hours --cap 2000 --out left.csv",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return predictRUL(cmd, &rulFiles{train, test, unit, at, out, limit})
		},
	}
	f := cmd.Flags()
	f.StringVar(&train, "train", "", "CSV `file` with lives that ended")
	f.StringVar(&test, "test", "", "CSV `file` with lives that go on, with the same columns")
	f.StringVar(&unit, "unit", "", "`column` that names the thing")
	f.StringVar(&at, "time", "", "`column` with the time, a number such as hours or cycles")
	f.Float64Var(&limit, "cap", 0, "what is left beyond it counts as it: what is new tells little of its end; 0: none")
	f.StringVar(&out, "out", "", "`file` to write; standard output")
	return cmd
}

type rulFiles struct {
	train, test, unit, time, out string
	limit                        float64
}

func predictRUL(cmd *cobra.Command, f *rulFiles) (err error) {
	for _, flag := range [][2]string{{"train", f.train}, {"test", f.test}, {"unit", f.unit}, {"time", f.time}} {
		if flag[1] == "" {
			return &usageError{fmt.Errorf("--%s is needed", flag[0])}
		}
	}
	if !(f.limit >= 0) || math.IsInf(f.limit, 0) {
		return &usageError{fmt.Errorf("--cap %g is no length of time", f.limit)}
	}
	lives, columns, err := readLives(f.train, f.unit, f.time, nil)
	if err != nil {
		return err
	}
	rest, _, err := readLives(f.test, f.unit, f.time, columns)
	if err != nil {
		return err
	}
	m, err := rul.Train(lives, f.limit)
	if err != nil {
		return fmt.Errorf("%s: %w", f.train, err)
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "learned from %d lives; on lives not seen it is off by %.4g (root mean square), a constant by %.4g\n", m.Error.Lives, m.Error.RMSE, m.Error.Constant)
	out := cmd.OutOrStdout()
	if f.out != "" {
		file, err := os.Create(f.out)
		if err != nil {
			return &usageError{err}
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	}
	return writeLives(out, m, rest)
}

func writeLives(out io.Writer, m *rul.Model, lives []rul.Life) error {
	w := csv.NewWriter(out)
	_ = w.Write([]string{"unit", "time", "prediction", "low50", "high50", "low90", "high90", "similar"}) // Error tells
	figure := func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
	for i := range lives {
		l := &lives[i]
		p := m.Predict(l)
		var similar []string
		for _, s := range p.Similar {
			similar = append(similar, fmt.Sprintf("%s with %.4g left", s.Unit, s.Left))
		}
		_ = w.Write([]string{
			l.Unit, strconv.FormatFloat(l.Times[len(l.Times)-1], 'g', -1, 64), figure(p.Left),
			figure(p.Interval50[0]), figure(p.Interval50[1]), figure(p.Interval90[0]), figure(p.Interval90[1]), strings.Join(similar, "; "),
		})
	}
	w.Flush()
	return w.Error()
}

// readLives reads lives by unit, in the order in which the units come up, each by time. columns are
// those of the measurements; nil: all others of the file.
func readLives(path, unit, at string, columns []string) (lives []rul.Life, measured []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, &usageError{err}
	}
	defer f.Close() //nolint:errcheck // it was only read
	r := csv.NewReader(bufio.NewReader(f))
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: the header cannot be read: %w", path, err)
	}
	t := &lifeTable{path: path, header: slices.Clone(header), of: map[string]int{}}
	t.header[0] = strings.TrimPrefix(t.header[0], "\ufeff") // as spreadsheets write it
	if err := t.find(unit, at, columns); err != nil {
		return nil, nil, err
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err) // it names the line
		}
		line, _ := r.FieldPos(0)
		if err := t.add(record, line); err != nil {
			return nil, nil, err
		}
	}
	if len(t.lives) == 0 {
		return nil, nil, fmt.Errorf("%s: there is no row", path)
	}
	for i := range t.lives {
		t.lives[i].Sort()
	}
	return t.lives, t.measured, nil
}

// lifeTable is a file that is being read.
type lifeTable struct {
	path       string
	header     []string
	unit, time int
	values     []int
	measured   []string
	lives      []rul.Life
	of         map[string]int // of lives, by unit
}

func (t *lifeTable) find(unit, at string, columns []string) error {
	column := func(name string) (int, error) {
		if i := slices.Index(t.header, name); i >= 0 {
			return i, nil
		}
		return 0, &usageError{fmt.Errorf("%s: there is no column %q; there are %s", t.path, name, strings.Join(t.header, ", "))}
	}
	var err error
	if t.unit, err = column(unit); err != nil {
		return err
	}
	if t.time, err = column(at); err != nil {
		return err
	}
	if columns == nil {
		for i, name := range t.header {
			if i != t.unit && i != t.time {
				columns = append(columns, name)
			}
		}
	}
	for _, name := range columns {
		i, err := column(name)
		if err != nil {
			return err
		}
		t.values = append(t.values, i)
	}
	if t.measured = columns; len(columns) == 0 {
		return &usageError{fmt.Errorf("%s: there is no column with measurements", t.path)}
	}
	return nil
}

func (t *lifeTable) add(record []string, line int) error {
	number := func(column int) (float64, error) {
		text := strings.TrimSpace(record[column])
		if text == "" && column != t.time {
			return math.NaN(), nil // not measured
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(v, 0) || math.IsNaN(v) && column == t.time {
			return 0, fmt.Errorf("%s: line %d: %.40q in column %s is no number", t.path, line, text, t.header[column])
		}
		return v, nil
	}
	at, err := number(t.time)
	if err != nil {
		return err
	}
	row := make([]float64, len(t.values))
	for i, column := range t.values {
		if row[i], err = number(column); err != nil {
			return err
		}
	}
	name := strings.Clone(record[t.unit])
	i, ok := t.of[name]
	if !ok {
		i = len(t.lives)
		t.of[name] = i
		t.lives = append(t.lives, rul.Life{Unit: name})
	}
	l := &t.lives[i]
	l.Times, l.Rows = append(l.Times, at), append(l.Rows, row)
	return nil
}
