package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

func newBehaviour() *cobra.Command {
	r, w := &remote{}, &window{}
	cmd := &cobra.Command{
		Use:   "behaviour THING",
		Short: "Show the state of a thing, what its model says that it does, and what it did in the last 30 days",
		Long: "Show the state of a thing and what its model says that it does, beside what it did in the last 30 days; and of texts\n" +
			"and truth values that have changed in that time how they follow each other and how long they last, with or\n" +
			"without a model.",
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			from, to, err := w.times()
			if err != nil {
				return err
			}
			b, err := c.Behaviour(cmd.Context(), thing, from, to)
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(b.Raw)
				return err
			}
			if b.Model != "" {
				if err := writeBehaviour(cmd.OutOrStdout(), b); err != nil {
					return err
				}
			}
			return writeLearned(cmd.OutOrStdout(), b)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().StringVar(&w.from, "from", "", "from this `time` on; "+whenHelp)
	cmd.Flags().StringVar(&w.to, "to", "", "before this `time`")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func writeBehaviour(w io.Writer, b *client.Behaviour) error {
	state := "no state is known"
	if b.State != "" {
		state = safe(b.State) + " since " + local(b.Since)
	}
	if b.Overrun {
		state += ", longer than it may"
	}
	if _, err := fmt.Fprintf(w, "%s  %s v%d  %s\n", b.DeviceID, safe(b.Model), b.ModelVersion, state); err != nil {
		return err
	}
	head := []string{"  state", "ways", "may last", "entered", "lasted (median)", "95 %", "longest"}
	var rows [][]string
	seen := map[string]int{}
	for i := range b.Observed.States {
		seen[b.Observed.States[i].State] = i + 1
	}
	for i := range b.Declared.States {
		s := &b.Declared.States[i]
		cells := []string{"  " + safe(s.State), waysOf(b, s.State), mayLast(s.Min, s.Max), "0", notSet, notSet, notSet}
		if at := seen[s.State]; at > 0 {
			o := &b.Observed.States[at-1]
			cells[3] = fmt.Sprint(o.Entered)
			if o.Left > 0 {
				cells[4], cells[5], cells[6] = lasted(o.Median), lasted(o.P95), lasted(o.Longest)
			}
		}
		rows = append(rows, cells)
	}
	if err := writeCells(w, head, rows); err != nil {
		return err
	}
	for _, t := range b.Observed.Transitions {
		if t.Illegal > 0 {
			if _, err := fmt.Fprintf(w, "  not allowed: %s → %s, %s\n", safe(t.From), safe(t.To), often(t.Illegal)); err != nil {
				return err
			}
		}
	}
	if b.Observed.Early+b.Observed.Overruns > 0 {
		_, err := fmt.Fprintf(w, "  left too early: %s; lasted too long: %s\n", often(b.Observed.Early), often(b.Observed.Overruns))
		return err
	}
	return nil
}

// writeLearned shows what the past says by itself.
func writeLearned(w io.Writer, b *client.Behaviour) error {
	if b.Model == "" {
		if _, err := fmt.Fprintf(w, "%s  no behaviour is declared: the thing has no model that is in force and has one\n", b.DeviceID); err != nil {
			return err
		}
	}
	for i := range b.Learned.Attributes {
		a := &b.Learned.Attributes[i]
		state := ""
		if a.State != "" {
			state = ", now " + safe(a.State)
		}
		if _, err := fmt.Fprintf(w, "learned of %s%s\n", safe(a.Of), state); err != nil {
			return err
		}
		var rows [][]string
		for _, s := range a.States {
			var to []string
			for _, t := range a.Transitions {
				if t.From == s.State {
					to = append(to, fmt.Sprintf("%s %.0f %%", safe(t.To), 100*t.Share))
				}
			}
			cells := []string{"  " + safe(s.State), strings.Join(to, ", "), fmt.Sprintf("%.1f %%", 100*s.Share), fmt.Sprint(s.Entered), notSet, notSet, notSet}
			if to == nil {
				cells[1] = notSet
			}
			if s.Longest > 0 {
				cells[4], cells[5], cells[6] = lasted(s.Median), lasted(s.P95), lasted(s.Longest)
			}
			rows = append(rows, cells)
		}
		if err := writeCells(w, []string{"  state", "goes to", "of the time", "entered", "lasted (median)", "95 %", "longest"}, rows); err != nil {
			return err
		}
	}
	return nil
}

func often(n int) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// waysOf lists where a state may go, with how often it did.
func waysOf(b *client.Behaviour, state string) string {
	var ways []string
	for i := range b.Declared.States {
		if b.Declared.States[i].State != state {
			continue
		}
		for _, to := range b.Declared.States[i].To {
			ways = append(ways, safe(to.To)+shareOf(b, state, to.To))
		}
	}
	if ways == nil {
		return notSet
	}
	return strings.Join(ways, ", ")
}

// shareOf is how often a state was followed by another, empty if it never was.
func shareOf(b *client.Behaviour, from, to string) string {
	for _, t := range b.Observed.Transitions {
		if t.From == from && t.To == to {
			return fmt.Sprintf(" %.0f %%", 100*t.Share)
		}
	}
	return ""
}

func mayLast(least, most float64) string {
	switch {
	case least == 0 && most == 0:
		return notSet
	case most == 0:
		return "≥ " + lasted(least)
	case least == 0:
		return "≤ " + lasted(most)
	}
	return lasted(least) + " to " + lasted(most)
}

func lasted(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
	if d > time.Minute {
		d = d.Round(time.Second)
	}
	return d.String()
}
