package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

func newGroup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Save conditions over all twins as live groups",
		Long: "Save conditions over all twins as live groups: who enters and leaves one is an event in the log of the twin, on the feed\n" +
			"and for webhooks (kind group).",
		Example: "  twofold group set hot 'reported.temperature > 80'\n  twofold group members hot\n  twofold watch --kind group",
	}
	group(cmd)
	cmd.AddCommand(newGroupList(), newGroupSet(), newGroupMembers(), newGroupRemove())
	return cmd
}

// withGroup runs something for a group, and says where to look if there is no such.
func (r *remote) withGroup(do func(*client.Client) error) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	err = do(c)
	if client.IsNotFound(err) {
		return fmt.Errorf("%w; `twofold group ls` lists the groups", err)
	}
	return explain(err)
}

func newGroupList() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the live groups",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.withGroup(func(c *client.Client) error {
				list, err := c.Groups(cmd.Context())
				if err != nil {
					return err
				}
				w := cmd.OutOrStdout()
				if r.output == "json" {
					return json.NewEncoder(w).Encode(list)
				}
				if len(list) == 0 {
					_, err := fmt.Fprintln(w, "no groups")
					return err
				}
				t := newTable(w)
				for _, g := range list {
					if _, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", g.Name, many(g.Members, "twin"), safe(g.Where), safe(g.About)); err != nil {
						return err
					}
				}
				return t.Flush()
			})
		},
	}
	r.addServer(cmd)
	r.addOutput(cmd, "table", "json")
	return cmd
}

func newGroupSet() *cobra.Command {
	r := &remote{}
	about := ""
	cmd := &cobra.Command{
		Use:   "set NAME CONDITION",
		Short: "Save a condition as a live group, or give one another condition",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.withGroup(func(c *client.Client) error {
				g, err := c.PutGroup(cmd.Context(), a[0], a[1], about)
				if err == nil {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", g.Name, many(g.Members, "twin"))
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&about, "about", "", "what it is for")
	r.addServer(cmd)
	return cmd
}

func newGroupMembers() *cobra.Command {
	r := &remote{}
	limit := 0
	cmd := &cobra.Command{
		Use:   "members NAME",
		Short: "List the members of a live group, a line each",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.withGroup(func(c *client.Client) error {
				list, err := c.GroupMembers(cmd.Context(), a[0], limit)
				if err != nil {
					return err
				}
				for _, thing := range list {
					if _, err := fmt.Fprintln(cmd.OutOrStdout(), thing); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "at most so `many`; 0: all")
	r.addServer(cmd)
	return cmd
}

func newGroupRemove() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "End a live group; its members leave it",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.withGroup(func(c *client.Client) error { return c.DeleteGroup(cmd.Context(), a[0]) })
		},
	}
	r.addServer(cmd)
	return cmd
}
