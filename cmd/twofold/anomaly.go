package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func newAnomaly() *cobra.Command {
	r := &remote{}
	verdict, note := "", ""
	episode := 0
	cmd := &cobra.Command{
		Use:   "anomaly THING",
		Short: "Show how unusual the measurements of a thing are, and judge episodes",
		Long: "Show how unusual the measurements of a thing are, what contributes, and the last episodes. A verdict on an episode is\n" +
			"used: after \"false alarm\" the metric has to be more unusual, after \"real\" a little less is enough, after\n" +
			"\"maintenance done\" what is now is usual.",
		Example: "  twofold anomaly pump-7\n  twofold anomaly pump-7 --episode 3 --verdict 'false alarm'\n  twofold anomaly pump-7 --verdict 'maintenance done' --note 'new bearing'",
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
			read := func() (*client.Anomaly, error) { return c.Anomaly(cmd.Context(), thing) }
			if verdict != "" {
				read = func() (*client.Anomaly, error) { return c.JudgeAnomaly(cmd.Context(), thing, episode, verdict, note) }
			}
			x, err := read()
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(x.Raw)
				return err
			}
			return writeAnomaly(cmd.OutOrStdout(), x)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().IntVar(&episode, "episode", 0, "`number` of the episode that --verdict is about")
	cmd.Flags().StringVar(&verdict, "verdict", "", "`false alarm`, real, or maintenance done")
	cmd.Flags().StringVar(&note, "note", "", "`text` kept with the verdict")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func writeAnomaly(w io.Writer, x *client.Anomaly) error {
	score := "no score"
	if x.Score != nil {
		score = fmt.Sprintf("score %.4f at %s", *x.Score, x.At.Local().Format(time.DateTime))
	}
	if _, err := fmt.Fprintf(w, "%s  %s  %s\n", label(x.DeviceID, ""), score, safe(x.Why)); err != nil {
		return err
	}
	if len(x.Episodes) == 0 {
		return nil
	}
	t := newTable(w)
	_, _ = fmt.Fprintln(t, "EPISODE\tKIND\tSTART\tEND\tMETRIC\tVALUE\tUSUAL\tSIGNAL\tVERDICT") // into memory
	for i := range x.Episodes {
		e := &x.Episodes[i]
		end, value, usual := "goes on", "", ""
		if !e.End.IsZero() {
			end = e.End.Local().Format(time.DateTime)
		}
		if e.Value != nil && e.UsualFrom != nil && e.UsualTo != nil {
			value, usual = fmt.Sprintf("%.4g", *e.Value), fmt.Sprintf("%.4g to %.4g", *e.UsualFrom, *e.UsualTo)
		}
		_, _ = fmt.Fprintln(t, strings.Join([]string{fmt.Sprint(e.Episode), e.Kind, e.Start.Local().Format(time.DateTime), end, safe(e.Metric), value, usual, e.Signal, e.Verdict}, "\t"))
	}
	return t.Flush()
}

func newPrediction() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:     "prediction THING",
		Short:   "Show when a thing is expected to fail, and how sure that is",
		Long:    "Show when a thing is expected to fail, as the failure section of its model says, how sure that is, or why it cannot be said.",
		Example: "  twofold prediction pump-7",
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
			p, err := c.Prediction(cmd.Context(), thing)
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(p.Raw)
				return err
			}
			return writePrediction(cmd.OutOrStdout(), p)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func writePrediction(w io.Writer, p *client.Prediction) error {
	if _, err := fmt.Fprintf(w, "%s  %s\n", label(p.DeviceID, ""), safe(p.Why)); err != nil {
		return err
	}
	for _, x := range p.Probability {
		if _, err := fmt.Fprintf(w, "  within %.0f days  %.1f %%\n", x.Days, 100*x.Probability); err != nil {
			return err
		}
	}
	return nil
}

func newMaintenance() *cobra.Command {
	r := &remote{}
	days := 0
	cmd := &cobra.Command{
		Use:     "maintenance",
		Short:   "List the things that are expected to fail, the next first",
		Long:    "List the things that are expected to fail, the next first; as a table, CSV, JSON, or a calendar (iCalendar) with a day for each.",
		Example: "  twofold maintenance --days 30\n  twofold maintenance -o ics > maintenance.ics",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			format := r.output
			if format == "text" {
				format = "json"
			}
			body, err := c.Maintenance(cmd.Context(), days, format)
			if err != nil {
				return explain(err)
			}
			if r.output != "text" {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			return writeMaintenance(cmd.OutOrStdout(), body)
		},
	}
	cmd.Flags().IntVar(&days, "days", 0, "only within so many `days`; 0: all")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "csv", "ics", "json")
	return cmd
}

func writeMaintenance(w io.Writer, body []byte) error {
	var list struct {
		Things []struct {
			DeviceID             twin.ThingName
			PredictedFailureDate time.Time
			Why                  string
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if len(list.Things) == 0 {
		_, err := fmt.Fprintln(w, "nothing is expected to fail")
		return err
	}
	t := newTable(w)
	_, _ = fmt.Fprintln(t, "THING\tDATE\tWHY") // into memory
	for _, x := range list.Things {
		_, _ = fmt.Fprintln(t, strings.Join([]string{label(x.DeviceID, ""), x.PredictedFailureDate.Format(time.DateOnly), safe(x.Why)}, "\t"))
	}
	return t.Flush()
}
