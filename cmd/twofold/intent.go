package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func newIntents() *cobra.Command {
	r := &remote{}
	withdraw := ""
	cmd := &cobra.Command{
		Use:   "intents THING",
		Short: "Show what is asked of a thing and not done yet, or take it back",
		Long: "Show what is asked of a thing and not done yet: each update of desired that the device has still to do something\n" +
			"for is pending until the device takes it, then delivered, and ends as applied, rejected, superseded or expired.\n" +
			"How earlier ones ended is in `twofold events THING --kind intent`.",
		Example: "  twofold intents lamp-1\n  twofold intents lamp-1 --withdraw v12\n  twofold fleet 'intentState == \"pending\" && now - intentSince > duration(\"10m\")'",
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
			if withdraw != "" {
				ch, err := c.Withdraw(cmd.Context(), thing, twin.ShadowName(r.shadow), withdraw)
				if err != nil {
					return explain(err)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  v%d  %s is withdrawn\n", label(ch.DeviceID, ch.Shadow), ch.Version, safe(withdraw))
				return err
			}
			l, err := c.Intents(cmd.Context(), thing, twin.ShadowName(r.shadow))
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(l.Raw)
				return err
			}
			return writeIntents(cmd.OutOrStdout(), l)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().StringVar(&withdraw, "withdraw", "", "take an `intent` back, such as v12: what is open of it is taken out of desired")
	r.addServer(cmd)
	r.addShadow(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func writeIntents(w io.Writer, l *client.Intents) error {
	list := l.Open
	if l.Last != nil {
		list = append(list, *l.Last)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintf(w, "%s  nothing was ever asked that was not so already\n", label(l.DeviceID, l.Shadow))
		return err
	}
	t := newTable(w)
	_, _ = fmt.Fprintln(t, "INTENT\tSTATE\tAGE\tWHAT\tBY\tDELIVERED\tSENT\tABOUT") // into memory
	for i := range list {
		x := &list[i]
		paths := x.Open
		if len(paths) == 0 {
			paths = x.Paths
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", x.ID, x.State, lasted(x.Age), safe(strings.Join(paths, ", ")), orNotSet(safe(x.By)),
			deliveredText(x), x.Sent, orNotSet(intentAbout(x)))
	}
	return t.Flush()
}

func deliveredText(x *client.Intent) string {
	if x.DeliveredAt.IsZero() {
		return notSet
	}
	return "after " + lasted(x.DeliveredAt.Sub(x.AskedAt).Seconds())
}

// intentAbout is what there is to say of an intent beside.
func intentAbout(x *client.Intent) string {
	var parts []string
	if a := x.Answer; a != nil {
		parts = append(parts, strings.TrimSuffix(safe(a.Status+": "+a.Message), ": "))
	}
	if x.Reason != "" && (x.Answer == nil || x.Answer.Message != x.Reason) {
		parts = append(parts, safe(x.Reason))
	}
	if !x.ExpiresAt.IsZero() && x.EndedAt.IsZero() {
		parts = append(parts, "expires in "+time.Until(x.ExpiresAt).Round(time.Second).String())
	}
	return strings.Join(parts, "; ")
}
