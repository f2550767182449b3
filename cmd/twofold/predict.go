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
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/internal/anomaly"
)

func newPredict() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "predict",
		Short: "Say how unusual measurements in files are, and when things fail",
		Long:  "Say how unusual measurements are, by those before them, and how long things still live, by lives that ended. These\ncommands work on files, without a server; `twofold anomaly` and `twofold prediction` ask a server about its twins.",
	}
	group(cmd)
	cmd.AddCommand(newPredictScore(), newPredictRUL())
	return cmd
}

func newPredictScore() *cobra.Command {
	timeColumn := ""
	var values []string
	cmd := &cobra.Command{
		Use:   "score FILE.csv",
		Short: "Score each row of a CSV file by the rows before it",
		Long: "Score each row of a CSV file with a header (- is standard input) by the rows before it, and by these alone, row by\n" +
			"row. The score is the share of the past in which less unusual things happened; the surprise goes on rising beyond\n" +
			"all that was seen; rising rows are those to raise an alarm for, few of each episode. An empty cell is no value.",
		Example: "  twofold predict score pump.csv\n  twofold predict score pump.csv --time at --value flow,power\n  twofold predict score pump.csv | awk -F, '$7 == \"true\" && $5 > 3'",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			in := cmd.InOrStdin()
			if a[0] != "-" {
				f, err := os.Open(a[0])
				if err != nil {
					return &usageError{err}
				}
				defer f.Close() //nolint:errcheck // it was only read
				in = f
			}
			if err := scoreFile(in, cmd.OutOrStdout(), timeColumn, values); err != nil {
				return fmt.Errorf("%s: %w", a[0], err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&timeColumn, "time", "", "`column` with the time (default the first)")
	cmd.Flags().StringSliceVar(&values, "value", nil, "`columns` with numbers (default all others)")
	return cmd
}

// scoring is a file that is being scored.
type scoring struct {
	header []string
	time   int
	values []int
	parse  func(string) (time.Time, error)
	line   int
}

func scoreFile(in io.Reader, out io.Writer, timeColumn string, values []string) error {
	r := csv.NewReader(bufio.NewReader(in))
	r.ReuseRecord = true
	first, err := r.Read()
	if err != nil {
		return fmt.Errorf("the header cannot be read: %w", err)
	}
	s := &scoring{header: slices.Clone(first), line: 1}
	s.header[0] = strings.TrimPrefix(s.header[0], "\ufeff") // as spreadsheets write it
	if err := s.columns(timeColumn, values); err != nil {
		return err
	}
	detector := anomaly.NewSeveral(len(s.values))
	w := csv.NewWriter(out)
	if err := w.Write([]string{"row", "time", "score", "metric", "surprise", "signal", "rising"}); err != nil {
		return err
	}
	numbers := make([]float64, len(s.values))
	for row := 0; ; row++ {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			w.Flush()
			return w.Error()
		}
		if err != nil {
			return err // it names the line
		}
		s.line, _ = r.FieldPos(0)
		at, err := s.read(record, numbers)
		if err != nil {
			return err
		}
		x, metric := detector.AddRow(at, numbers)
		name := ""
		if x.Signal != "" {
			name = s.header[s.values[metric]]
		}
		err = w.Write([]string{
			strconv.Itoa(row), record[s.time], strconv.FormatFloat(x.Score, 'f', 6, 64), name,
			strconv.FormatFloat(x.Surprise, 'f', 4, 64), x.Signal, strconv.FormatBool(x.Rising),
		})
		if err != nil {
			return err
		}
	}
}

// columns finds those that were named.
func (s *scoring) columns(timeColumn string, values []string) error {
	find := func(name string) (int, error) {
		if i := slices.Index(s.header, name); i >= 0 {
			return i, nil
		}
		return 0, &usageError{fmt.Errorf("there is no column %q; there are %s", name, strings.Join(s.header, ", "))}
	}
	var err error
	if timeColumn != "" {
		if s.time, err = find(timeColumn); err != nil {
			return err
		}
	}
	for i := range s.header {
		if len(values) == 0 && i != s.time {
			s.values = append(s.values, i)
		}
	}
	for _, name := range values {
		i, err := find(name)
		if err != nil {
			return err
		}
		if i == s.time {
			return &usageError{fmt.Errorf("%s is the column with the time", name)}
		}
		s.values = append(s.values, i)
	}
	if len(s.values) == 0 {
		return &usageError{errors.New("there is no column with numbers")}
	}
	return nil
}

// read reads a row. An empty cell is NaN.
func (s *scoring) read(record []string, numbers []float64) (time.Time, error) {
	if s.parse == nil {
		s.parse = timeFormat(record[s.time])
	}
	if s.parse == nil {
		return time.Time{}, fmt.Errorf("line %d: %.40q in column %s is no time such as 2026-11-23T20:15:00Z, 2026-11-23 20:15:00, or seconds or milliseconds since 1970; --time names the column", s.line, record[s.time], s.header[s.time])
	}
	at, err := s.parse(record[s.time])
	if err != nil {
		return at, fmt.Errorf("line %d: %.40q in column %s is no time as in the rows before", s.line, record[s.time], s.header[s.time])
	}
	for i, column := range s.values {
		text := strings.TrimSpace(record[column])
		numbers[i] = math.NaN()
		if text == "" {
			continue
		}
		if numbers[i], err = strconv.ParseFloat(text, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
			return at, fmt.Errorf("line %d: %.40q in column %s is no number; --value names the columns with numbers", s.line, text, s.header[column])
		}
	}
	return at, nil
}

// timeFormat finds out how times are written; nil: in no way that is known.
func timeFormat(text string) func(string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04", "2006-01-02"} {
		if _, err := time.Parse(layout, text); err == nil {
			return func(text string) (time.Time, error) { return time.Parse(layout, text) }
		}
	}
	if _, err := strconv.ParseFloat(text, 64); err != nil {
		return nil
	}
	return func(text string) (time.Time, error) {
		const millisecondsFrom = 1e11 // as seconds the year 5138
		f, err := strconv.ParseFloat(text, 64)
		if math.Abs(f) < millisecondsFrom {
			f *= 1000
		}
		return time.UnixMilli(int64(f)), err
	}
}
