package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

func newFleet() *cobra.Command {
	r := &remote{}
	q := client.FleetQuery{}
	all, at := false, ""
	cmd := &cobra.Command{
		Use:   "fleet [CONDITION]",
		Short: "Find twins by what they report, their tags, telemetry, computed attributes and alarms",
		Long: "Find twins by a condition over id, model, tags, reported, desired, delta, computed, telemetry, alarms, alarmCount, connected, lastSeen, driftSince, intentState, intentSince and now.\n" +
			"An update that was acknowledged is found. `twofold fleet figures` counts and summarizes.",
		Example: "  twofold fleet 'reported.temperature > 80 && tags.site == \"hh1\"'\n  twofold fleet 'now - driftSince > duration(\"10m\")' --select delta --sort driftSince\n  twofold fleet '!connected' --sort=-lastSeen --limit 10\n  twofold fleet 'reported.temperature > 80' --at '2026-11-23 03:00'",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) == 1 {
				q.Where = a[0]
			}
			if err := past(&q.At, at); err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			return explain(writeFleet(cmd, c, q, all, r.output))
		},
	}
	cmd.Flags().StringArrayVar(&q.Select, "select", nil, "`expression` to show, such as reported.temperature; may be repeated")
	cmd.Flags().StringArrayVar(&q.Sort, "sort", nil, "`expression` to sort by, with a leading - the greatest first; may be repeated")
	cmd.Flags().IntVar(&q.Limit, "limit", 0, "at most so many, up to 1000 (default 100)")
	cmd.Flags().StringVar(&at, "at", "", "the twins as they were at a `time`: "+whenHelp[len("a time: "):])
	cmd.Flags().BoolVar(&all, "all", false, "all twins that are found")
	cmd.Flags().BoolVar(&q.Explain, "explain", false, "say how the answer was found")
	r.addServer(cmd)
	r.addOutput(cmd, "table", "json", "ndjson")
	cmd.AddCommand(newFleetFigures(), newFleetChanges(), newFleetSet(), newFleetTag(), newFleetCommand())
	return cmd
}

// past reads the time of --at.
func past(into *string, text string) error {
	if text == "" {
		return nil
	}
	t, err := parseWhen("at", text, time.Now())
	*into = t.UTC().Format(time.RFC3339Nano)
	return err
}

// writeFleet writes one page, or all of them.
func writeFleet(cmd *cobra.Command, c *client.Client, q client.FleetQuery, all bool, output string) error {
	w := cmd.OutOrStdout()
	for n := 0; ; {
		page, err := c.Fleet(cmd.Context(), &q)
		if err != nil {
			return err
		}
		n += len(page.Twins)
		if err := writeFleetPage(w, page, output); err != nil {
			return err
		}
		if all && page.Next != "" {
			q.Cursor = page.Next
			continue
		}
		if output != "table" {
			return nil
		}
		lines := append([]string{found(n, page.Total)}, page.Hints...)
		if _, err := fmt.Fprintln(w, strings.Join(lines, "\n")); err != nil || page.Explain == nil {
			return err
		}
		return writeExplain(w, page.Explain)
	}
}

func found(shown, total int) string {
	switch {
	case total == 0:
		return "no twins"
	case shown < total:
		return fmt.Sprintf("%d of %d twins; --limit or --all shows more", shown, total)
	case total == 1:
		return "1 twin"
	}
	return fmt.Sprintf("%d twins", total)
}

func writeFleetPage(w io.Writer, page *client.FleetPage, output string) error {
	switch output {
	case "json":
		_, err := fmt.Fprintf(w, "%s\n", strings.TrimSpace(string(page.Raw)))
		return err
	case "ndjson":
		for _, t := range page.Twins {
			line, err := json.Marshal(map[string]any{"deviceId": t.DeviceID, "values": t.Values})
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "%s\n", line); err != nil {
				return err
			}
		}
		return nil
	}
	if len(page.Twins) == 0 {
		return nil
	}
	var rows [][]string
	for _, t := range page.Twins {
		var cells []string
		for _, name := range page.Columns {
			cells = append(cells, cellText(t.Values[name]))
		}
		rows = append(rows, cells)
	}
	return writeCells(w, page.Columns, rows)
}

func writeCells(w io.Writer, head []string, rows [][]string) error {
	t := newTable(w)
	for _, cells := range append([][]string{head}, rows...) {
		if _, err := fmt.Fprintln(t, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// cellText is a JSON value as a table shows it.
func cellText(raw json.RawMessage) string {
	var text string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return notSet
	case json.Unmarshal(raw, &text) == nil:
		return safe(text)
	}
	return safe(string(raw))
}

func writeExplain(w io.Writer, x *client.FleetExplain) error {
	_, err := fmt.Fprintf(w, "looked at %d twins of %d models in %.1f ms: %d by columns (%s), %d by the interpreter\n",
		x.Twins, x.Models, x.Seconds*1000, x.ByColumns, strings.Join(x.Reads, ", "), x.Interpreted)
	for _, why := range x.Interpreter {
		if err == nil {
			_, err = fmt.Fprintln(w, "  "+why)
		}
	}
	return err
}

func newFleetFigures() *cobra.Command {
	r := &remote{}
	q := client.FleetAggregate{}
	at := ""
	cmd := &cobra.Command{
		Use:   "figures FIGURE...",
		Short: "Count twins and summarize what they have, by group",
		Long: "Figures are count(), count(x), distinct(x), avg(x), min(x), max(x), sum(x), p50(x) and other percentiles, top(x, 5) and histogram(x, 10), where x is an expression " +
			"such as reported.temperature.",
		Example: "  twofold fleet figures 'count()' 'p95(reported.temperature)' --by tags.site\n  twofold fleet figures 'top(reported.firmware, 5)' --where 'model == \"pump\"'",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			q.Figures = a
			if err := past(&q.At, at); err != nil {
				return err
			}
			f, err := c.FleetFigures(cmd.Context(), &q)
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", strings.TrimSpace(string(f.Raw)))
				return err
			}
			return writeFigures(cmd.OutOrStdout(), &q, f)
		},
	}
	cmd.Flags().StringVar(&q.Where, "where", "", "only twins for which this `condition` holds")
	cmd.Flags().StringArrayVar(&q.GroupBy, "by", nil, "`expression` to group by, such as model or tags.site; may be repeated")
	cmd.Flags().IntVar(&q.Limit, "limit", 0, "at most so many groups (default 100)")
	cmd.Flags().StringVar(&at, "at", "", "of the twins as they were at a `time`: "+whenHelp[len("a time: "):])
	cmd.Flags().BoolVar(&q.Explain, "explain", false, "say how the answer was found")
	r.addServer(cmd)
	r.addOutput(cmd, "table", "json")
	return cmd
}

func writeFigures(w io.Writer, q *client.FleetAggregate, f *client.FleetFigures) error {
	if len(f.Groups) == 0 {
		_, err := fmt.Fprintln(w, "no twins")
		return err
	}
	var rows [][]string
	for _, g := range f.Groups {
		var cells []string
		for _, name := range q.GroupBy {
			cells = append(cells, cellText(g.Key[name]))
		}
		for _, name := range q.Figures {
			cells = append(cells, figureText(g.Figures[name]))
		}
		rows = append(rows, cells)
	}
	head := append(append([]string{}, q.GroupBy...), q.Figures...)
	if err := writeCells(w, head, rows); err != nil {
		return err
	}
	if more := f.Total - len(f.Groups); more > 0 {
		if _, err := fmt.Fprintf(w, "… and %d more groups; --limit shows more\n", more); err != nil {
			return err
		}
	}
	for _, hint := range f.Hints {
		if _, err := fmt.Fprintln(w, hint); err != nil {
			return err
		}
	}
	if f.Explain == nil {
		return nil
	}
	return writeExplain(w, f.Explain)
}

// figureText shows the most frequent values and histograms in a line.
func figureText(raw json.RawMessage) string {
	var list []struct {
		Value    json.RawMessage
		From, To *float64
		Count    int
	}
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return cellText(raw)
	}
	var parts []string
	for _, x := range list {
		if x.From != nil && x.To != nil {
			parts = append(parts, fmt.Sprintf("%g–%g: %d", *x.From, *x.To, x.Count))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s: %d", cellText(x.Value), x.Count))
	}
	return strings.Join(parts, ", ")
}
