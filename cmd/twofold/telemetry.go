package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

func newTelemetry() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "telemetry",
		Short: "Send samples, or import them from a file",
	}
	group(cmd)
	cmd.AddCommand(newTelemetrySend(), newTelemetryImport())
	return cmd
}

func newTelemetrySend() *cobra.Command {
	r := &remote{}
	var ts string
	cmd := &cobra.Command{
		Use:   "send THING METRIC=VALUE...",
		Short: "Add samples of a thing, as its device would send them",
		Long: "Add samples of a thing, as its device would send them. A metric has dots between nested names. A value is\n" +
			"a number, true, false or a text. It is on disk when the command ends.",
		Example: "  twofold telemetry send pump-7 temperature=41.5 motor.speed=1480 mode=eco\n  twofold telemetry send pump-7 temperature=39 --ts 10m",
		Args:    args(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			p := &patch{}
			for _, assignment := range a[1:] {
				if err := p.assign(assignment); err != nil {
					return &usageError{err}
				}
			}
			at, err := parseWhen("ts", ts, time.Now())
			if err != nil {
				return err
			}
			values := p.appendJSON(nil)
			point := values
			if !at.IsZero() {
				point = fmt.Appendf(nil, `{"ts":%d,"values":%s}`, at.UnixMilli(), values)
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			res, err := c.SendTelemetry(cmd.Context(), thing, point)
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				return writeResult(cmd.OutOrStdout(), res)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  telemetry %s\n", thing, values)
			return err
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().StringVar(&ts, "ts", "", "when it was measured, `TIME` being "+whenHelp+"; empty: now")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func newTelemetryImport() *cobra.Command {
	r := &remote{}
	var format string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Add samples of many things from a CSV or NDJSON file",
		Long: "Add samples of many things from a file, or - for standard input. A CSV has the header thing,ts,metric,value\n" +
			"or thing,ts and a column per metric; NDJSON has an object per line with \"thing\", maybe \"ts\", and values.\n" +
			"Lines that are wrong are reported and leave the others alone; then the exit code is 1.",
		Example: "  twofold telemetry import history.csv\n  zcat lines.gz | twofold telemetry import - --format ndjson",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			f, err := formatOf(a[0], format)
			if err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if a[0] != "-" {
				file, err := os.Open(a[0])
				if err != nil {
					return err
				}
				defer func() { _ = file.Close() }() // it was only read
				in = file
			}
			progress, done := importProgress(cmd.ErrOrStderr())
			res, err := c.ImportTelemetry(cmd.Context(), f, in, progress)
			done()
			return r.imported(cmd, a[0], res, err)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`csv|ndjson`; empty: by the name of the file")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"csv", "ndjson", "jsonl"}, cobra.ShellCompDirectiveFilterFileExt
	}
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

// formatOf decides what a file is.
func formatOf(file, format string) (client.TelemetryFormat, error) {
	word := format
	if word == "" {
		word = strings.TrimPrefix(strings.ToLower(filepath.Ext(file)), ".")
	}
	switch word {
	case "csv":
		return client.CSV, nil
	case "ndjson", "jsonl":
		return client.NDJSON, nil
	}
	if format != "" {
		return "", &usageError{fmt.Errorf("--format %q is not csv or ndjson", format)}
	}
	return "", &usageError{fmt.Errorf("%s: is it CSV or NDJSON? give --format csv or --format ndjson", file)}
}

// importProgress writes how far an import is: over itself on a terminal, else a line
// every 10 seconds.
func importProgress(w io.Writer) (progress func(*client.TelemetryResult), done func()) {
	every, start, end := 10*time.Second, "", "\n"
	if terminal(w) {
		every, start, end = 500*time.Millisecond, "\r\x1b[K", ""
	}
	began := time.Now()
	last, told := began, false
	return func(res *client.TelemetryResult) {
			now := time.Now()
			if now.Sub(last) < every {
				return
			}
			last, told = now, true
			lines := res.Accepted + res.Rejected
			_, _ = fmt.Fprintf(w, "%s%d lines, %.0f a second%s", start, lines, float64(lines)/now.Sub(began).Seconds(), end)
		}, func() {
			if told && start != "" {
				_, _ = io.WriteString(w, start)
			}
		}
}

// imported tells what became of an import; err is why it stopped early.
func (r *remote) imported(cmd *cobra.Command, file string, res *client.TelemetryResult, err error) error {
	if file == "-" {
		file = "standard input"
	}
	for _, e := range res.Errors {
		if _, werr := fmt.Fprintf(cmd.ErrOrStderr(), "%s:%d: %s\n", file, e.Line, safe(e.Message)); werr != nil {
			return werr
		}
	}
	if more := res.Rejected - len(res.Errors); more > 0 {
		if _, werr := fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d more lines are rejected\n", file, more); werr != nil {
			return werr
		}
	}
	var werr error
	if r.output == "json" {
		werr = writeResult(cmd.OutOrStdout(), res)
	} else {
		_, werr = fmt.Fprintf(cmd.OutOrStdout(), "%d lines accepted, %d rejected\n", res.Accepted, res.Rejected)
	}
	switch {
	case err != nil:
		return explain(fmt.Errorf("%s: %w", file, err))
	case werr != nil:
		return werr
	case res.Rejected > 0:
		return errors.New("not all lines are accepted")
	}
	return nil
}

func writeResult(w io.Writer, res *client.TelemetryResult) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(res); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}
