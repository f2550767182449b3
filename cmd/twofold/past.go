package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

// window are the flags of a stretch of time.
type window struct {
	from, to string
	oldest   bool
	limit    int
}

const limitDefault = 100

func (w *window) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.from, "from", "", "from this `time` on; "+whenHelp)
	cmd.Flags().StringVar(&w.to, "to", "", "before this `time`")
	cmd.Flags().BoolVar(&w.oldest, "oldest", false, "oldest first")
	cmd.Flags().IntVarP(&w.limit, "limit", "n", limitDefault, "at most so `many`; 0: all")
}

func (w *window) times() (from, to time.Time, err error) {
	now := time.Now()
	if w.limit < 0 {
		return from, to, &usageError{fmt.Errorf("--limit %d is negative", w.limit)}
	}
	if from, err = parseWhen("from", w.from, now); err == nil {
		to, err = parseWhen("to", w.to, now)
	}
	if err == nil && !from.IsZero() && !to.IsZero() && from.After(to) {
		err = &usageError{fmt.Errorf("--from %s is after --to %s", w.from, w.to)}
	}
	return from, to, err
}

func newHistory() *cobra.Command {
	r, w := &remote{}, &window{}
	var all, states bool
	var model string
	cmd := &cobra.Command{
		Use:   "history [THING]",
		Short: "Show the past of a thing, or of all things of a model",
		Long: "Show the past of a thing, or with --model of all things of a model: each accepted update with who made it\n" +
			"and by which door. The table shows what was sent, the other outputs the states that followed.",
		Example: "  twofold history pump-7 --from 24h\n  twofold history pump-7 --from 2026-11-22 --oldest -n 0 -o ndjson\n  twofold history --model pump --from 1h -o csv",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if (len(a) == 1) == (model != "") {
				return &usageError{errors.New("history needs a thing, or --model and no thing")}
			}
			q := client.HistoryQuery{Shadow: twin.ShadowName(r.shadow), AllShadows: all, Oldest: w.oldest, Limit: w.limit}
			q.Patches = r.output == "table" && !states
			var err error
			if q.From, q.To, err = w.times(); err != nil {
				return err
			}
			var thing twin.ThingName
			if model == "" {
				if thing, err = r.thing(a[0]); err != nil {
					return err
				}
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			if r.output == "csv" {
				return explain(historyCSV(cmd, c, thing, model, q))
			}
			past := c.History(cmd.Context(), thing, q)
			if model != "" {
				past = c.FleetHistory(cmd.Context(), model, q)
			}
			if r.output == "table" {
				return explain(writeHistory(cmd.OutOrStdout(), past, all, model != ""))
			}
			return explain(writeRaw(cmd.OutOrStdout(), r.output, past, func(s client.PastState) []byte { return s.Raw }))
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().BoolVar(&all, "all-shadows", false, "of all shadows of the thing")
	cmd.Flags().BoolVar(&states, "states", false, "in the table, show the states and not what was sent")
	cmd.Flags().StringVar(&model, "model", "", "of all things that have this `model`")
	w.add(cmd)
	r.addServer(cmd)
	r.addShadow(cmd)
	r.addOutput(cmd, "table", "csv", "ndjson", "json")
	return cmd
}

// csvMax is the most rows of one table, whose columns are those of its rows.
const csvMax = 1000

func historyCSV(cmd *cobra.Command, c *client.Client, thing twin.ThingName, model string, q client.HistoryQuery) error {
	if q.Limit == 0 || q.Limit > csvMax {
		return &usageError{fmt.Errorf("csv has at most %d rows, because its columns are known only at the end: give --limit, or -o ndjson for more", csvMax)}
	}
	var table []byte
	var err error
	if model != "" {
		table, err = c.FleetHistoryTable(cmd.Context(), model, q)
	} else {
		table, err = c.HistoryTable(cmd.Context(), thing, q)
	}
	if err == nil {
		_, err = cmd.OutOrStdout().Write(table)
	}
	return err
}

func writeHistory(w io.Writer, past iter.Seq2[client.PastState, error], all, fleet bool) error {
	tw := newTable(w)
	n := 0
	for st, err := range past {
		if err != nil {
			return err
		}
		name := ""
		switch {
		case fleet:
			name = label(st.Thing, st.Shadow) + "\t"
		case all:
			name = orNotSet(string(st.Shadow)) + "\t"
		}
		if n++; n == 1 {
			head := "TIME\t"
			if fleet {
				head += "THING\t"
			} else if all {
				head += "SHADOW\t"
			}
			if _, err := fmt.Fprintln(tw, head+"VERSION\tWHAT\tBY\tVALUES"); err != nil {
				return err
			}
		}
		values, err := valuesOf(&st)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(tw, "%s\t%sv%d\t%s\t%s %s\t%s\n", local(st.Timestamp), name, st.Version, st.Kind, st.Door, safe(st.By), values); err != nil {
			return err
		}
	}
	if n == 0 {
		_, err := fmt.Fprintln(w, "nothing in this time")
		return err
	}
	return tw.Flush()
}

func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000") }

// valuesOf writes path=value for each value of a past state.
func valuesOf(st *client.PastState) (string, error) {
	var parts []string
	add := func(prefix []string, doc []byte) error {
		if len(doc) == 0 || doc[0] != '{' {
			return nil
		}
		return leaves(prefix, doc, nil, func(path, text string, _ int64) { parts = append(parts, path+"="+text) })
	}
	err := errors.Join(add(nil, st.Patch), add([]string{"reported"}, st.Reported), add([]string{"desired"}, st.Desired))
	return strings.Join(parts, " "), err
}

// writeRaw writes what the server sent, as lines or as one array.
func writeRaw[T any](w io.Writer, format string, list iter.Seq2[T, error], raw func(T) []byte) (err error) {
	b := bufio.NewWriter(w)
	defer func() { err = errors.Join(err, b.Flush()) }()
	before, after := "", "\n"
	if format == "json" {
		before, after = "[\n", ""
	}
	n := 0
	for item, err := range list {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(b, "%s%s%s", before, raw(item), after); err != nil {
			return err
		}
		if n++; format == "json" {
			before = ",\n"
		}
	}
	if format != "json" {
		return nil
	}
	end := "\n]\n"
	if n == 0 {
		end = "[]\n"
	}
	_, err = b.WriteString(end)
	return err
}

func newEvents() *cobra.Command {
	r, w := &remote{}, &window{}
	q := client.EventQuery{}
	cmd := &cobra.Command{
		Use:     "events THING",
		Short:   "Search the event log of a thing",
		Long:    "Search the event log of a thing: updates, connects and disconnects, rejected updates, what the device reported,\nadministrative acts.",
		Example: "  twofold events pump-7 --severity warning --from 7d\n  twofold events pump-7 --kind rejected,disconnected\n  twofold events pump-7 --text pressure -o ndjson",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			q.Oldest, q.Limit = w.oldest, w.limit
			if q.From, q.To, err = w.times(); err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			events := c.Events(cmd.Context(), thing, q)
			if r.output == "table" {
				return explain(writeEvents(cmd.OutOrStdout(), events))
			}
			return explain(writeRaw(cmd.OutOrStdout(), r.output, events, func(e client.Event) []byte { return e.Raw }))
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	f := cmd.Flags()
	f.StringSliceVar(&q.Kinds, "kind", nil, "only these `kinds`: "+strings.Join(twin.EventKindNames(), ", "))
	f.StringVar(&q.Severity, "severity", "", "at least this `severity`: info, warning, error, critical")
	f.StringVar(&q.Type, "type", "", "only this `type`, such as ota")
	f.StringVar(&q.Text, "text", "", "only events with this `text` in them, in small letters or capitals")
	f.StringVar(&q.Correlation, "correlation", "", "only events with this correlation `id`")
	w.add(cmd)
	r.addServer(cmd)
	r.addOutput(cmd, "table", "ndjson", "json")
	return cmd
}

func writeEvents(w io.Writer, events iter.Seq2[client.Event, error]) error {
	tw := newTable(w)
	n := 0
	for ev, err := range events {
		if err != nil {
			return err
		}
		if n++; n == 1 {
			if _, err := fmt.Fprintln(tw, "TIME\tSEQ\tWHAT\tSEVERITY\tBY\tABOUT"); err != nil {
				return err
			}
		}
		about, err := aboutEvent(&ev)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\n", local(ev.Time), ev.Seq, ev.Kind, orNotSet(ev.Severity),
			strings.TrimSpace(ev.Door+" "+safe(ev.By)), about); err != nil {
			return err
		}
	}
	if n == 0 {
		_, err := fmt.Fprintln(w, "no such events")
		return err
	}
	return tw.Flush()
}

// aboutEvent says in one line what an event is about.
func aboutEvent(ev *client.Event) (string, error) {
	var parts []string
	if ev.Shadow != "" {
		parts = append(parts, string(ev.Shadow))
	}
	if ev.Version != 0 {
		parts = append(parts, fmt.Sprintf("v%d", ev.Version))
	}
	for _, text := range []string{ev.Type, ev.Message, string(ev.Data)} {
		if text != "" {
			parts = append(parts, safe(text))
		}
	}
	values, err := valuesOf(&client.PastState{Patch: ev.Patch})
	if values != "" {
		parts = append(parts, values)
	}
	return strings.Join(parts, "  "), err
}

func newDiff() *cobra.Command {
	r := &remote{}
	var from, to string
	cmd := &cobra.Command{
		Use:     "diff THING --from WHEN [--to WHEN]",
		Short:   "Show what changed between two times or versions",
		Example: "  twofold diff pump-7 --from 6h\n  twofold diff pump-7 --from v12 --to v40\n  twofold diff pump-7 --from '2026-11-22 03:00' --to '2026-11-22 04:00'",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			if from == "" {
				return &usageError{errors.New("diff needs --from: a version such as v12, or " + whenHelp)}
			}
			now := time.Now()
			first, err := parsePoint("from", from, now)
			if err != nil {
				return err
			}
			second, err := parsePoint("to", to, now)
			if err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			d, err := c.Diff(cmd.Context(), thing, twin.ShadowName(r.shadow), first, second)
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(d.Raw)
				return err
			}
			return writeDiff(cmd.OutOrStdout(), d)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().StringVar(&from, "from", "", "a version such as v12, or `when`: "+whenHelp)
	cmd.Flags().StringVar(&to, "to", "", "a version or `when`; empty: now")
	r.addServer(cmd)
	r.addShadow(cmd)
	r.addOutput(cmd, "table", "json")
	return cmd
}

func writeDiff(w io.Writer, d *client.Difference) error {
	side := func(s client.DifferenceSide) string {
		if !s.Exists {
			return "nothing"
		}
		return fmt.Sprintf("v%d of %s", s.Version, local(s.Timestamp))
	}
	if _, err := fmt.Fprintf(w, "%s  from %s  to %s\n", label(d.DeviceID, d.Shadow), side(d.From), side(d.To)); err != nil {
		return err
	}
	if len(d.Changes) == 0 {
		_, err := fmt.Fprintln(w, "  no value is different")
		return err
	}
	tw := newTable(w)
	if _, err := fmt.Fprintln(tw, "  PATH\tBEFORE\tAFTER"); err != nil {
		return err
	}
	text := func(v []byte) string {
		if len(v) == 0 {
			return notSet
		}
		return show(v)
	}
	for _, c := range d.Changes {
		if _, err := fmt.Fprintf(tw, "  %s\t%s\t%s\n", safe(c.Path), text(c.Before), text(c.After)); err != nil {
			return err
		}
	}
	return tw.Flush()
}
