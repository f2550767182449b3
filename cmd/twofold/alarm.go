package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

func newAlarm() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alarm",
		Short: "See, acknowledge and mute alarms",
		Long:  "See, acknowledge and mute alarms, which the models of twins have. What becomes of them is in `twofold events`.",
	}
	group(cmd)
	cmd.AddCommand(newAlarmList(), newAlarmAcknowledge(), newAlarmMute())
	return cmd
}

func newAlarmList() *cobra.Command {
	r := &remote{}
	f := client.AlarmFilter{}
	cmd := &cobra.Command{
		Use:     "ls [THING]",
		Short:   "List raised alarms, newest first; of a thing all its alarms",
		Example: "  twofold alarm ls --severity error\n  twofold alarm ls pump-7",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			if len(a) == 0 {
				list, total, raw, err := c.Alarms(cmd.Context(), f)
				if err != nil {
					return explain(err)
				}
				return writeAlarms(cmd.OutOrStdout(), list, total, raw, r.output)
			}
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			list, raw, err := c.TwinAlarms(cmd.Context(), thing)
			if err != nil {
				return explain(err)
			}
			return writeAlarms(cmd.OutOrStdout(), list, len(list), raw, r.output)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().StringVar(&f.Severity, "severity", "", "only alarms of at least this `severity`: info, warning, error, critical")
	cmd.Flags().StringVar(&f.Model, "model", "", "only alarms of twins of this `model`")
	cmd.Flags().IntVar(&f.Limit, "limit", 0, "at most so many, up to 1000 (default 100)")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func writeAlarms(w io.Writer, list []client.Alarm, total int, raw []byte, output string) error {
	if output == "json" {
		_, err := w.Write(raw)
		return err
	}
	if total == 0 {
		_, err := fmt.Fprintln(w, "no alarms")
		return err
	}
	t := newTable(w)
	for i := range list {
		a := &list[i]
		about := ""
		if a.AcknowledgedBy != "" {
			about = "by " + safe(a.AcknowledgedBy)
		}
		if !a.MutedUntil.IsZero() {
			about += " muted until " + local(a.MutedUntil)
		}
		since := notSet
		if !a.Since.IsZero() {
			since = local(a.Since)
		}
		if a.DeviceID != "" {
			since += "\t" + string(a.DeviceID)
		}
		if _, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", since, safe(a.Name), a.Severity, a.State, about); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if total > len(list) {
		_, err := fmt.Fprintf(w, "… and %d more; --limit shows more\n", total-len(list))
		return err
	}
	return nil
}

func newAlarmAcknowledge() *cobra.Command {
	r := &remote{}
	by := ""
	cmd := &cobra.Command{
		Use:   "ack THING ALARM",
		Short: "Say that somebody has seen a raised alarm",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			return explain(c.AcknowledgeAlarm(cmd.Context(), thing, a[1], by))
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().StringVar(&by, "by", "", "`who` has seen it (default the address of the caller)")
	r.addServer(cmd)
	return cmd
}

func newAlarmMute() *cobra.Command {
	r := &remote{}
	length := time.Duration(0)
	cmd := &cobra.Command{
		Use:     "mute THING ALARM --for DURATION",
		Short:   "Mark what an alarm tells as muted for a time; --for 0s ends that",
		Long:    "Mark what an alarm tells as muted for a time: its events go on and say that they are muted.",
		Example: "  twofold alarm mute pump-7 hot --for 2h",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if !cmd.Flags().Changed("for") {
				return &usageError{errors.New("say for how long: --for 2h, or --for 0s for no longer")}
			}
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			return explain(c.MuteAlarm(cmd.Context(), thing, a[1], length))
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().DurationVar(&length, "for", 0, "how `long`, such as 2h; 0s: no longer")
	r.addServer(cmd)
	return cmd
}
