package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

const expectHelp = "\nIt says first which twins it touches, and does nothing; with --expect N it is done if it touches N."

// fleetAct makes a command that does something to many twins.
func fleetAct(cmd *cobra.Command, fill func(a []string, act *client.FleetAct) error) *cobra.Command {
	r := &remote{}
	expect := -1
	cmd.Long = cmd.Short + "." + expectHelp
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		act := client.FleetAct{Where: a[0]}
		if err := fill(a[1:], &act); err != nil {
			return err
		}
		if cmd.Flags().Changed("expect") {
			act.Expect = &expect
		}
		c, err := r.client()
		if err != nil {
			return err
		}
		done, err := c.FleetAct(cmd.Context(), &act)
		if err != nil {
			return explain(err)
		}
		if r.output == "json" {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", strings.TrimSpace(string(done.Raw)))
			return err
		}
		return writeActed(cmd.OutOrStdout(), done)
	}
	cmd.Flags().IntVar(&expect, "expect", -1, "do it if it touches so many twins")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func writeActed(w io.Writer, done *client.FleetActed) error {
	if done.DryRun {
		names := make([]string, 0, len(done.Twins))
		for _, t := range done.Twins {
			names = append(names, string(t))
		}
		list := strings.Join(names, ", ")
		if len(names) < done.Matched {
			list += ", …"
		}
		text := "it touches no twin"
		if done.Matched > 0 {
			text = fmt.Sprintf("it touches %s: %s\nnothing is done yet; --expect %d does it", many(done.Matched, "twin"), list, done.Matched)
		}
		_, err := fmt.Fprintln(w, text)
		return err
	}
	if _, err := fmt.Fprintf(w, "done for %s\n", many(done.Done, "twin")); err != nil {
		return err
	}
	for _, e := range done.Errors {
		if _, err := fmt.Fprintf(w, "  %s: %s\n", e.DeviceID, safe(e.Detail)); err != nil {
			return err
		}
	}
	if done.Failed > 0 {
		return fmt.Errorf("it failed for %s", many(done.Failed, "twin"))
	}
	return nil
}

func newFleetSet() *cobra.Command {
	in := time.Duration(0)
	cmd := fleetAct(&cobra.Command{
		Use: "set CONDITION PATH=VALUE...", Short: "Ask all twins for which a condition holds for a state: change desired",
		Example: "  twofold fleet set 'model == \"lamp\"' level=80\n  twofold fleet set 'model == \"lamp\"' level=80 --expect 41", Args: args(cobra.MinimumNArgs(2)),
	}, func(a []string, act *client.FleetAct) error {
		p := &patch{}
		for _, assignment := range a {
			if err := p.assign(assignment); err != nil {
				return &usageError{err}
			}
		}
		act.Desired = p.appendJSON(nil)
		if in != 0 {
			act.ExpiresIn = in.String()
		}
		return nil
	})
	cmd.Flags().DurationVar(&in, "expires-in", 0, "take out of desired what is not applied after this `time`, such as 24h")
	return cmd
}

func newFleetTag() *cobra.Command {
	return fleetAct(&cobra.Command{
		Use: "tag CONDITION [KEY=VALUE | KEY-]...", Short: "Set or remove tags of all twins for which a condition holds",
		Example: "  twofold fleet tag 'reported.firmware < \"2.0\"' wave=1", Args: args(cobra.MinimumNArgs(2)),
	}, func(a []string, act *client.FleetAct) (err error) {
		act.Tags, err = parseTags(a)
		return err
	})
}

func newFleetCommand() *cobra.Command {
	in := time.Duration(0)
	cmd := fleetAct(&cobra.Command{
		Use: "command CONDITION NAME [PATH=VALUE]...", Short: "Send a command to all twins for which a condition holds",
		Example: "  twofold fleet command 'state == \"fault\"' reset\n  twofold fleet command 'tags.site == \"hh1\"' blink seconds=5 --expires-in 10m --expect 12", Args: args(cobra.MinimumNArgs(2)),
	}, func(a []string, act *client.FleetAct) error {
		parameters := &patch{}
		for _, word := range a[1:] {
			if err := parameters.assign(word); err != nil {
				return &usageError{err}
			}
		}
		act.Command = &client.FleetCommand{Name: a[0], Parameters: parameters.appendJSON(nil)}
		if in != 0 {
			act.Command.ExpiresIn = in.String()
		}
		return nil
	})
	cmd.Flags().DurationVar(&in, "expires-in", 0, "give up after this `time` (default 1h, at most 720h)")
	return cmd
}
