package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func newWebhook() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Send events to addresses, signed",
		Long: "Send events to addresses by HTTP POST, in order, at least once and signed as Standard Webhooks has it.\n" +
			"The server has to allow it: webhooks.enabled. What an address does not take in the end is a dead letter.",
	}
	group(cmd)
	cmd.AddCommand(newWebhookList(), newWebhookAdd(), newWebhookRemove(), newWebhookTest(), newWebhookDead(), newWebhookRetry())
	return cmd
}

func newWebhookList() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List webhooks and where they stand",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			list, err := c.Webhooks(cmd.Context())
			if err != nil {
				return explain(err)
			}
			if len(list) == 0 && r.output == "text" {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "no webhooks\n")
				return err
			}
			t := newTable(cmd.OutOrStdout())
			for i := range list {
				line := fmt.Sprintf("%s\t%s\t%s\n", list[i].Name, safe(list[i].URL), aboutWebhook(&list[i]))
				if r.output == "ndjson" {
					line = string(list[i].Raw) + "\n"
				}
				if _, err := fmt.Fprint(t, line); err != nil {
					return err
				}
			}
			return t.Flush()
		},
	}
	r.addServer(cmd)
	r.addOutput(cmd, "text", "ndjson")
	return cmd
}

// aboutWebhook says where a webhook stands.
func aboutWebhook(w *client.Webhook) string {
	text := fmt.Sprintf("%s, %d delivered", w.State, w.Delivered)
	if w.LastError != "" {
		text += ", " + safe(w.LastError)
	}
	if !w.Next.IsZero() {
		text += ", next try " + local(w.Next)
	}
	if w.Dead > 0 {
		text += fmt.Sprintf(", %d dead", w.Dead)
	}
	if w.Missed > 0 {
		text += fmt.Sprintf(", events expired undelivered %d times", w.Missed)
	}
	return text
}

func newWebhookAdd() *cobra.Command {
	r := &remote{}
	n := client.NewWebhook{}
	var things []string
	var secretFile string
	cmd := &cobra.Command{
		Use:   "add NAME URL",
		Short: "Make a webhook; shows its secret, once",
		Long: "Make a webhook: events from now on go to an address. Without --secret-file the server makes a secret, which is\n" +
			"shown here and never again; the receiver checks signatures with it.",
		Example: "  twofold webhook add crm https://crm.example.com/hook --model pump --kind updated,job --path reported.temperature",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			n.Name, n.URL = twin.WebhookName(a[0]), a[1]
			for _, name := range things {
				thing, err := r.thing(name)
				if err != nil {
					return err
				}
				n.Filter.Things = append(n.Filter.Things, thing)
			}
			if secretFile != "" {
				b, err := os.ReadFile(secretFile)
				if err != nil {
					return fmt.Errorf("--secret-file: %w", err)
				}
				n.Secret = strings.TrimSpace(string(b))
				if n.Secret == "" {
					return fmt.Errorf("--secret-file: %s is empty", secretFile)
				}
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			made, err := c.CreateWebhook(cmd.Context(), n)
			if err != nil {
				return explain(err)
			}
			out := cmd.OutOrStdout()
			switch {
			case r.output == "json":
				_, err = out.Write(made.Raw)
			case secretFile != "":
				_, err = fmt.Fprintf(out, "%s  %s\n", made.Name, safe(made.URL))
			default:
				_, err = fmt.Fprintf(out, "%s  %s\nsecret: %s\n", made.Name, safe(made.URL), made.Secret)
			}
			return err
		},
	}
	cmd.Flags().StringSliceVar(&things, "thing", nil, "only events of these `things`")
	cmd.Flags().StringSliceVar(&n.Filter.Models, "model", nil, "only events of things of these `models`")
	cmd.Flags().StringSliceVar(&n.Filter.Kinds, "kind", nil, "only these `kinds` of event: "+strings.Join(twin.EventKindNames(), ", "))
	cmd.Flags().StringVar(&n.Filter.Severity, "severity", "", "only events of at least this `severity`")
	cmd.Flags().StringVar(&n.Filter.Path, "path", "", "only changes that touch this `path`, such as reported.temperature")
	cmd.Flags().IntVar(&n.Batch, "batch", 0, "most events in one `request`, up to 100 (default 100)")
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "`file` with the secret: whsec_ and 24 to 64 bytes in base64")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

// withWebhook runs something for the webhook that the first argument names.
func (r *remote) withWebhook(a []string, do func(*client.Client, twin.WebhookName) error) error {
	name := twin.WebhookName(a[0])
	if !name.Valid() {
		return &usageError{fmt.Errorf("%q is no name of a webhook", a[0])}
	}
	c, err := r.client()
	if err != nil {
		return err
	}
	err = do(c, name)
	if client.IsNotFound(err) {
		return fmt.Errorf("%w; `twofold webhook ls` lists the webhooks", err)
	}
	return explain(err)
}

func newWebhookRemove() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Remove a webhook and its dead letters",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.withWebhook(a, func(c *client.Client, name twin.WebhookName) error {
				return c.DeleteWebhook(cmd.Context(), name)
			})
		},
	}
	r.addServer(cmd)
	return cmd
}

func newWebhookTest() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "test NAME",
		Short: "Send a request without events now",
		Long:  "Send a request without events now. The exit code is 1 if the receiver does not take it.",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.withWebhook(a, func(c *client.Client, name twin.WebhookName) error {
				reason, err := c.TestWebhook(cmd.Context(), name)
				if err == nil && reason != "" {
					err = fmt.Errorf("%s was not taken: %s", name, safe(reason))
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s was taken\n", name)
				return err
			})
		},
	}
	r.addServer(cmd)
	return cmd
}

func newWebhookDead() *cobra.Command {
	r := &remote{}
	remove := ""
	cmd := &cobra.Command{
		Use:     "dead NAME",
		Short:   "List what a webhook could not deliver, oldest first",
		Example: "  twofold webhook dead crm\n  twofold webhook dead crm --remove msg_KD3HZJ5NB2QX_5k",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.withWebhook(a, func(c *client.Client, name twin.WebhookName) error {
				if remove != "" {
					return c.DeleteDeadLetter(cmd.Context(), name, remove)
				}
				list, err := c.DeadLetters(cmd.Context(), name)
				if err != nil {
					return err
				}
				if len(list) == 0 && r.output == "text" {
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "no dead letters\n")
					return err
				}
				t := newTable(cmd.OutOrStdout())
				for i, d := range list {
					line := fmt.Sprintf("%s\t%s\t%d events\t%d tries\t%s\n", local(d.Time), safe(d.ID), d.Events, d.Tries, safe(d.Error))
					if r.output == "ndjson" {
						line = string(list[i].Raw) + "\n"
					}
					if _, err := fmt.Fprint(t, line); err != nil {
						return err
					}
				}
				return t.Flush()
			})
		},
	}
	cmd.Flags().StringVar(&remove, "remove", "", "remove the dead letter with this `id`, which is not sent any more")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "ndjson")
	return cmd
}

func newWebhookRetry() *cobra.Command {
	r := &remote{}
	all := false
	cmd := &cobra.Command{
		Use:   "retry NAME [ID]...",
		Short: "Send dead letters once more now",
		Long:  "Send dead letters once more now. Those that are taken leave the list; at the first that is not it ends, with exit code 1.",
		Args:  args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if all == (len(a) > 1) {
				return &usageError{errors.New("name dead letters by their ids, or give --all")}
			}
			return r.withWebhook(a, func(c *client.Client, name twin.WebhookName) error {
				ids := a[1:]
				if all {
					list, err := c.DeadLetters(cmd.Context(), name)
					if err != nil {
						return err
					}
					for i := range list {
						ids = append(ids, list[i].ID)
					}
				}
				for _, id := range ids {
					reason, err := c.RetryDeadLetter(cmd.Context(), name, id)
					if err == nil && reason != "" {
						err = fmt.Errorf("%s was not taken: %s", safe(id), safe(reason))
					}
					if err != nil {
						return err
					}
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d taken\n", len(ids))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of them, oldest first")
	r.addServer(cmd)
	return cmd
}
