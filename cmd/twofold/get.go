package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func newGet() *cobra.Command {
	r := &remote{}
	var at string
	var version uint64
	cmd := &cobra.Command{
		Use:     "get THING",
		Short:   "Show what a thing reported, what is asked of it, and where they differ",
		Long:    "Show what a thing reported, what is asked of it, and where they differ; with --at or --version as it was.",
		Example: "  twofold get lamp-1\n  twofold get lamp-1 --shadow net -o json\n  twofold get lamp-1 --at '2026-11-22 03:00'",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			t, err := readTwin(cmd.Context(), c, thing, twin.ShadowName(r.shadow), at, twin.Version(version))
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(t.Raw)
				return err
			}
			return writeTwin(cmd.OutOrStdout(), t)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().StringVar(&at, "at", "", "as it was at a `time`: "+whenHelp[len("a time: "):])
	cmd.Flags().Uint64Var(&version, "version", 0, "as it was at a `version`")
	r.addServer(cmd)
	r.addShadow(cmd)
	r.addOutput(cmd, "table", "json")
	return cmd
}

// readTwin reads a twin as it is, or as it was if a time or version is given.
func readTwin(ctx context.Context, c *client.Client, thing twin.ThingName, shadow twin.ShadowName, at string, version twin.Version) (*client.Twin, error) {
	if at != "" && version != 0 {
		return nil, &usageError{errors.New("--at and --version are two ways to say the same; give one of them")}
	}
	when, err := parseWhen("at", at, time.Now())
	if err != nil {
		return nil, err
	}
	if when.IsZero() && version == 0 {
		return c.Twin(ctx, thing, shadow)
	}
	return c.PastTwin(ctx, thing, shadow, when, version)
}

// notSet stands for a value that is not there; never 0 or an empty cell.
const notSet = "–"

// writeTwin writes the table PATH, REPORTED, DESIRED, AGE, DRIFT.
func writeTwin(w io.Writer, t *client.Twin) error {
	rows, err := rowsOf(t)
	if err != nil {
		return fmt.Errorf("read the state of %s: %w", t.DeviceID, err)
	}
	now := t.AnsweredAt
	if now.IsZero() {
		now = time.Now()
	}
	seen := "never reported"
	if !t.AsOf.IsZero() {
		now = t.AsOf // ages are as they were then
		seen = "as of " + local(t.AsOf)
	} else if !t.LastSeen.IsZero() {
		seen = "last seen " + age(now.Sub(t.LastSeen)) + " ago"
	}
	if t.State != "" {
		seen += "  " + safe(t.State) + " for " + age(now.Sub(t.StateSince))
	}
	if _, err := fmt.Fprintf(w, "%s  v%d  %s\n", label(t.DeviceID, t.Shadow), t.Version, seen); err != nil {
		return err
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "  nothing is reported and nothing is desired")
		return err
	}
	tw := newTable(w)
	if _, err := fmt.Fprintln(tw, "  PATH\tREPORTED\tDESIRED\tAGE\tDRIFT"); err != nil {
		return err
	}
	for _, row := range rows {
		drift := ""
		if row.drift {
			drift = "→ " + row.desired + " for " + ageOf(row.desiredAt, now)
		}
		if _, err := fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\n",
			row.path, orNotSet(row.reported), orNotSet(row.desired), ageOf(max(row.reportedAt, row.desiredAt), now), drift); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// label names a shadow in the first line of an output.
func label(thing twin.ThingName, shadow twin.ShadowName) string {
	if shadow == "" {
		return string(thing)
	}
	return string(thing) + " " + string(shadow)
}

func orNotSet(text string) string {
	if text == "" {
		return notSet
	}
	return text
}

// ageOf is the age of a time in seconds since 1970; 0 is a time that is not known.
func ageOf(seconds int64, now time.Time) string {
	if seconds == 0 {
		return "?"
	}
	return age(now.Sub(time.Unix(seconds, 0)))
}

// age writes a duration with the one or two units that matter.
func age(d time.Duration) string {
	d = max(d, 0)
	day := 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
}
