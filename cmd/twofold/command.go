package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func newCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "command",
		Short: "Send commands to devices and see what becomes of them",
		Long: "Send commands to devices and see what becomes of them. A command waits until its device is there or its time\n" +
			"is up: queued, delivered, accepted, and then done, failed, rejected, expired or cancelled.",
	}
	group(cmd)
	cmd.AddCommand(newCommandSend(), newCommandList(), newCommandGet(), newCommandCancel())
	return cmd
}

func newCommandSend() *cobra.Command {
	r := &remote{}
	var in time.Duration
	var id string
	wait := false
	cmd := &cobra.Command{
		Use:   "send THING NAME [PATH=VALUE]...",
		Short: "Send a command to a device",
		Long: "Send a command to a device. VALUE is JSON or a bare word, dots in PATH make nested objects.\n" +
			"With --wait it ends when the command does: with exit code 0 if it is done, else with 1.",
		Example: "  twofold command send pump-7 flush seconds=30 --wait\n  twofold command send pump-7 reboot --expires-in 24h",
		Args:    args(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			parameters := &patch{}
			for _, word := range a[2:] {
				if err := parameters.assign(word); err != nil {
					return &usageError{err}
				}
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			sent, err := c.SendCommand(cmd.Context(), thing, client.NewCommand{
				Name: a[1], Parameters: parameters.appendJSON(nil), ExpiresIn: in, ID: twin.CommandID(id),
			})
			if err != nil {
				return explain(err)
			}
			if !wait {
				return r.writeCommand(cmd, sent)
			}
			return r.await(cmd, c, sent)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().DurationVar(&in, "expires-in", 0, "give up after this `time` (default 1h, at most 720h)")
	cmd.Flags().StringVar(&id, "id", "", "`id` of the command; sent twice it is one command; without it the server makes one")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the end of the command")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

// waitStep is how long the server is asked to wait at once.
const waitStep = 20 * time.Second

// await shows the steps of a command, until its end.
func (r *remote) await(cmd *cobra.Command, c *client.Client, now *client.Command) error {
	for !now.State.Final() {
		next, err := c.Command(cmd.Context(), now.Thing, now.ID, waitStep)
		if err != nil {
			return explain(err)
		}
		now = next
	}
	if err := r.writeCommand(cmd, now); err != nil {
		return err
	}
	if now.State != twin.CommandDone {
		return fmt.Errorf("the command %s is not done but %s", now.ID, now.State)
	}
	return nil
}

func (r *remote) writeCommand(cmd *cobra.Command, c *client.Command) error {
	out := cmd.OutOrStdout()
	if r.output == "json" {
		_, err := out.Write(c.Raw)
		return err
	}
	_, err := fmt.Fprintf(out, "%s  %s  %s %s  %s\n", c.Thing, c.ID, safe(c.Name), c.Parameters, aboutCommand(c))
	return err
}

// aboutCommand says where a command stands.
func aboutCommand(c *client.Command) string {
	text := string(c.State)
	if c.Progress != nil && c.State != twin.CommandDone {
		text += " " + strconv.Itoa(*c.Progress) + "%"
	}
	if c.Reason != "" {
		text += " " + safe(c.Reason)
	}
	if c.Message != "" {
		text += " " + string(appendString(nil, c.Message))
	}
	if c.Result != nil {
		text += " → " + safe(string(c.Result))
	}
	if !c.State.Final() {
		text += ", expires " + local(c.Expires)
	}
	return text
}

func newCommandList() *cobra.Command {
	r := &remote{}
	var states []string
	var limit int
	cmd := &cobra.Command{
		Use:     "ls THING",
		Short:   "List the commands of a device",
		Long:    "List the commands of a device, those sent last first.",
		Example: "  twofold command ls pump-7 --state pending",
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
			return explain(r.listCommands(cmd.Context(), cmd, c, thing, states, limit))
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().StringSliceVar(&states, "state", nil, "only those in these `states`; pending: those that have not ended")
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "at most so `many`; 0: all")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "ndjson")
	return cmd
}

func (r *remote) listCommands(ctx context.Context, cmd *cobra.Command, c *client.Client, thing twin.ThingName, states []string, limit int) error {
	t := newTable(cmd.OutOrStdout())
	none := true
	for command, err := range c.Commands(ctx, thing, states, limit) {
		if err != nil {
			return err
		}
		if none = false; r.output == "ndjson" {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", command.Raw); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", local(command.Created), command.ID, safe(command.Name), aboutCommand(&command)); err != nil {
			return err
		}
	}
	if none && r.output == "text" {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "no commands\n")
		return err
	}
	return t.Flush()
}

func newCommandGet() *cobra.Command {
	r := &remote{}
	wait := false
	cmd := &cobra.Command{
		Use:   "get THING ID",
		Short: "Show a command",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.oneCommand(a, func(c *client.Client, thing twin.ThingName, id twin.CommandID) error {
				now, err := c.Command(cmd.Context(), thing, id, 0)
				switch {
				case err != nil:
					return err
				case wait:
					return r.await(cmd, c, now)
				}
				return r.writeCommand(cmd, now)
			})
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the end of the command; exit code 1 if it is not done then")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func newCommandCancel() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "cancel THING ID",
		Short: "Cancel a command that has not ended",
		Long:  "Cancel a command that has not ended. It is not sent any more; a device that has it already is not told.",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.oneCommand(a, func(c *client.Client, thing twin.ThingName, id twin.CommandID) error {
				now, err := c.CancelCommand(cmd.Context(), thing, id)
				if err != nil {
					return err
				}
				return r.writeCommand(cmd, now)
			})
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

// oneCommand does something with the command that two arguments name.
func (r *remote) oneCommand(a []string, do func(*client.Client, twin.ThingName, twin.CommandID) error) error {
	thing, err := r.thing(a[0])
	if err != nil {
		return err
	}
	id := twin.CommandID(a[1])
	if !id.Valid() {
		return &usageError{fmt.Errorf("%q is no id of a command", a[1])}
	}
	c, err := r.client()
	if err != nil {
		return err
	}
	err = do(c, thing, id)
	var refused *client.Error
	if errors.As(err, &refused) && client.IsNotFound(err) {
		return fmt.Errorf("%w; `twofold command ls %s` lists its commands", err, thing)
	}
	return explain(err)
}
