package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func newWatch() *cobra.Command {
	r := &remote{}
	q := client.WatchQuery{}
	var count int
	cmd := &cobra.Command{
		Use:   "watch [THING...]",
		Short: "Follow what happens, as it happens",
		Long: "Follow what happens, to the given things or to all. When the connection is lost it is made again and nothing\n" +
			"is missed or shown twice. With -o ndjson each line has the event and a cursor; --after CURSOR goes on there.",
		Example: "  twofold watch pump-7\n  twofold watch --model pump --kind rejected,reported --severity warning\n  twofold watch --path reported.temperature --min-interval 1s -o ndjson",
		RunE: func(cmd *cobra.Command, a []string) error {
			for _, name := range a {
				thing, err := r.thing(name)
				if err != nil {
					return err
				}
				q.Things = append(q.Things, thing)
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			q.Lost = func(err error) { _, _ = fmt.Fprintf(cmd.ErrOrStderr(), "twofold: %v; trying again\n", err) }
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return explain(r.follow(ctx, cmd, c, q, count))
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	f := cmd.Flags()
	f.StringSliceVar(&q.Models, "model", nil, "only things of these `models`")
	f.StringSliceVar(&q.Kinds, "kind", nil, "only these `kinds`: "+strings.Join(twin.EventKindNames(), ", "))
	f.StringVar(&q.Severity, "severity", "", "at least this `severity`: info, warning, error, critical")
	f.StringVar(&q.Where, "where", "", "only of twins for which this `condition` holds when the event comes, as in twofold fleet")
	f.StringVar(&q.Path, "path", "", "only changes of this `path`, such as reported.temperature")
	f.DurationVar(&q.MinInterval, "min-interval", 0*time.Second, "show a shadow at most once in this `time`, its newest event then")
	f.StringVar(&q.After, "after", "", "begin after this `cursor`; 0: with the oldest event that is kept")
	f.IntVarP(&count, "count", "n", 0, "end after so `many` events; 0: never")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "ndjson")
	return cmd
}

// follow writes events until there were count of them or ctx ends.
func (r *remote) follow(ctx context.Context, cmd *cobra.Command, c *client.Client, q client.WatchQuery, count int) error {
	seen := 0
	for w, err := range c.Watch(ctx, q) {
		if err != nil {
			return err
		}
		if err := r.writeWatched(cmd, &w); err != nil {
			return err
		}
		if seen++; seen == count {
			return nil
		}
	}
	return nil
}

func (r *remote) writeWatched(cmd *cobra.Command, w *client.Watched) error {
	out := cmd.OutOrStdout()
	if r.output == "ndjson" {
		line := append([]byte(`{"cursor":`), appendString(nil, w.Cursor)...)
		line = append(append(line, `,"event":`...), w.Raw...)
		_, err := fmt.Fprintf(out, "%s}\n", line)
		return err
	}
	about, err := aboutEvent(&w.Event)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s  %s  %s  %s\n", local(w.Time), w.Thing, strings.TrimSpace(w.Kind+" "+w.Severity), about)
	return err
}
