package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func newSet() *cobra.Command {
	r := &remote{}
	reported := false
	var ifVersion uint64
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "set THING PATH=VALUE...",
		Short: "Ask a thing for a state: change desired",
		Long: "Ask a thing for a state: change desired, or with --reported what it has reported, in its stead.\n" +
			"A path has dots between nested names (\\. is a dot in a name). A value is JSON; a bare word is a string,\n" +
			"null deletes. All values of one command are one update.",
		Example: "  twofold set lamp-1 level=80\n  twofold set lamp-1 light.color=red light.timer=null\n  twofold set lamp-1 level=80 --if-version 7",
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
			c, err := r.client()
			if err != nil {
				return err
			}
			change, section := c.PatchDesired, "desired"
			if reported {
				change, section = c.PatchReported, "reported"
			}
			if expires < 0 || reported && expires != 0 {
				return &usageError{errors.New("--expires-in is how long something is asked of a thing, such as 10m; not for --reported")}
			}
			body := p.appendJSON(nil)
			ch, err := change(cmd.Context(), thing, body, client.ChangeOptions{
				Shadow: twin.ShadowName(r.shadow), IfVersion: twin.Version(ifVersion), ExpiresIn: expires,
			})
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(ch.Raw)
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  v%d  %s %s\n", label(ch.DeviceID, ch.Shadow), ch.Version, section, body)
			return err
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().BoolVar(&reported, "reported", false, "change reported instead of desired")
	cmd.Flags().Uint64Var(&ifVersion, "if-version", 0, "change only if the twin is at `version`; otherwise exit code 4")
	cmd.Flags().DurationVar(&expires, "expires-in", 0, "take out of desired what is not applied after this `time`, such as 10m")
	r.addServer(cmd)
	r.addShadow(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func newDelete() *cobra.Command {
	r := &remote{}
	whole := false
	cmd := &cobra.Command{
		Use:   "delete THING",
		Short: "Delete a shadow of a thing, or the whole twin",
		Long: "Delete a shadow of a thing: its desired and reported state. Its history stays, and its versions go on if\nit comes back within 48 hours.\n" +
			"With --whole delete all its shadows, its model and its tags; the history stays then too.",
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
			ch, err := deleteTwin(cmd.Context(), c, thing, twin.ShadowName(r.shadow), whole)
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(ch.Raw)
				return err
			}
			if whole {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  deleted as a whole\n", ch.DeviceID)
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  v%d  deleted\n", label(ch.DeviceID, ch.Shadow), ch.Version)
			return err
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().BoolVar(&whole, "whole", false, "delete all shadows, model and tags")
	r.addServer(cmd)
	r.addShadow(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func deleteTwin(ctx context.Context, c *client.Client, thing twin.ThingName, shadow twin.ShadowName, whole bool) (*client.Changed, error) {
	switch {
	case !whole:
		return c.Delete(ctx, thing, client.ChangeOptions{Shadow: shadow})
	case shadow != "":
		return nil, &usageError{errors.New("--whole deletes all shadows; leave --shadow out")}
	}
	return c.DeleteWhole(ctx, thing)
}
