package main

import (
	"bytes"
	"io"
	"text/tabwriter"
)

// table aligns tab-separated columns and leaves no blanks at line ends.
type table struct {
	*tabwriter.Writer
	out   io.Writer
	lines bytes.Buffer
}

func newTable(w io.Writer) *table {
	t := &table{out: w}
	t.Writer = tabwriter.NewWriter(&t.lines, 0, 0, 2, ' ', 0)
	return t
}

// Flush writes the table.
func (t *table) Flush() error {
	if err := t.Writer.Flush(); err != nil {
		return err
	}
	for line := range bytes.Lines(t.lines.Bytes()) {
		if _, err := t.out.Write(append(bytes.TrimRight(line, " \n"), '\n')); err != nil {
			return err
		}
	}
	return nil
}
