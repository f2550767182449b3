package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

func newProfile() *cobra.Command {
	r, w := &remote{}, &window{}
	q := client.ProfileQuery{}
	cmd := &cobra.Command{
		Use:   "profile THING [NUMBER...]",
		Short: "Show what numbers of a thing are like at each hour of the week",
		Long: "Show what numbers of a thing, such as reported.temperature or telemetry.flow, were like at each hour of the week\n" +
			"over the last eight weeks, or from one time to another: a mark for the mean of each hour, and by day the mean\n" +
			"and the range in which 90 % of the numbers of an hour are. With -o json all figures of all hours.",
		Example: "  twofold profile room-1 --zone Europe/Berlin\n  twofold profile room-1 reported.temperature --from 4w -o json",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			var err error
			if q.Thing, err = r.thing(a[0]); err != nil {
				return err
			}
			if q.From, q.To, err = w.times(); err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			q.Of = a[1:]
			p, err := c.Profile(cmd.Context(), q)
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(p.Raw)
				return err
			}
			return writeProfile(cmd.OutOrStdout(), p)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().StringVar(&q.Zone, "zone", "", "time `zone` of the hours, such as Europe/Berlin; UTC")
	cmd.Flags().StringVar(&w.from, "from", "", "from this `time` on; "+whenHelp)
	cmd.Flags().StringVar(&w.to, "to", "", "before this `time`")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func writeProfile(w io.Writer, p *client.Profile) error {
	if len(p.Profiles) == 0 {
		_, err := fmt.Fprintln(w, "no numbers in this time")
		return err
	}
	for i := range p.Profiles {
		if err := writeWeek(w, &p.Profiles[i], p.Zone); err != nil {
			return err
		}
	}
	return nil
}

func writeWeek(w io.Writer, p *client.WeekProfile, zone string) error {
	unit := ""
	if p.Unit != "" {
		unit = " in " + safe(p.Unit)
	}
	if _, err := fmt.Fprintf(w, "%s%s  samples: %d  zone: %s\n  day  00    06    12    18      mean    5 %%    95 %%\n", safe(p.Of), unit, p.Samples, zone); err != nil {
		return err
	}
	means := make([]float64, client.HoursOfWeek)
	for i, m := range p.Mean {
		means[i] = math.NaN()
		if m != nil {
			means[i] = *m
		}
	}
	marks := []rune(drawSparks(means))
	for day, name := range strings.Fields("Mon Tue Wed Thu Fri Sat Sun") {
		from, to := 24*day, 24*day+24
		mean, low, high := dayOf(p, from, to)
		if _, err := fmt.Fprintf(w, "  %s  %s  %-6s  %-6s  %s\n", name, string(marks[from:to]), short(mean), short(low), short(high)); err != nil {
			return err
		}
	}
	return nil
}

// short writes a number with the digits that a look needs.
func short(v *float64) string {
	if v == nil {
		return notSet
	}
	return fmt.Sprintf("%.4g", *v)
}

// dayOf returns the mean of a day, and the lowest and highest bound of its hours; nil: no number.
func dayOf(p *client.WeekProfile, from, to int) (mean, low, high *float64) {
	sum, count := 0.0, 0
	for i := from; i < to; i++ {
		if p.Mean[i] == nil {
			continue
		}
		sum += *p.Mean[i] * float64(p.Count[i])
		count += p.Count[i]
		if low == nil || *p.P5[i] < *low {
			low = p.P5[i]
		}
		if high == nil || *p.P95[i] > *high {
			high = p.P95[i]
		}
	}
	if count > 0 {
		sum /= float64(count)
		mean = &sum
	}
	return mean, low, high
}
