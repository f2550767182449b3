package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/twin"
)

func newJob() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "job",
		Short: "Bring jobs, such as firmware updates, to many things",
		Long: "Bring jobs, such as firmware updates, to many things, in waves. Devices take them as those of AWS IoT Jobs.\n" +
			"On each thing a job is queued, in_progress, and then succeeded, failed, timed_out, rejected or canceled.",
	}
	group(cmd)
	cmd.AddCommand(newJobCreate(), newJobList(), newJobShow(), newJobChange("pause", "Let a job reach no further things", (*client.Client).PauseJob),
		newJobChange("resume", "Let a paused job go on", (*client.Client).ResumeJob), newJobCancel())
	return cmd
}

// jobFlags are what `job create` is told.
type jobFlags struct {
	id, document, description, model, where, thingsFile string
	wave, pause                                         string
	rate, timeout                                       int
	aborts                                              []string
}

func newJobCreate() *cobra.Command {
	r := &remote{}
	f := &jobFlags{}
	cmd := &cobra.Command{
		Use:   "create [THING]...",
		Short: "Make a job for things, or for all things of a model",
		Long: "Make a job for things, or for all things of a model. The document is a JSON object for the devices, or @FILE with one.\n" +
			"In it the string \"${artifact:NAME}\" becomes name, url, sha256 and size of an artifact of the server.",
		Example: "  twofold job create pump-7 --document '{\"operation\":\"reboot\"}'\n" +
			"  twofold job create --model pump --document @fw.json --wave 10% --pause 10m --abort all:20%:10\n" +
			"  twofold job create --where 'model == \"pump\" && reported.firmware != \"2.1.0\"' --document @fw.json",
		RunE: func(cmd *cobra.Command, a []string) error {
			n, err := f.request(r, a)
			if err != nil {
				return &usageError{err}
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			j, err := c.CreateJob(cmd.Context(), *n)
			if err != nil {
				return explain(err)
			}
			return r.writeJob(cmd, j)
		},
	}
	cmd.Flags().StringVar(&f.id, "id", "", "`id` of the job; without it the server makes one")
	cmd.Flags().StringVar(&f.document, "document", "", "`JSON` object for the devices, or @FILE (required)")
	cmd.Flags().StringVar(&f.description, "description", "", "a `text` for people")
	cmd.Flags().StringVar(&f.model, "model", "", "all things of a `model`")
	cmd.Flags().StringVar(&f.where, "where", "", "all things that a `condition` holds for, as in twofold fleet")
	cmd.Flags().StringVar(&f.thingsFile, "things-file", "", "`file` with the name of a thing in each line")
	cmd.Flags().StringVar(&f.wave, "wave", "", "`size` of the waves: 100, or 10%; several with commas, the last one repeats")
	cmd.Flags().StringVar(&f.pause, "pause", "", "`time` between waves, such as 10m")
	cmd.Flags().IntVar(&f.rate, "rate", 0, "at most so many things a `minute`")
	cmd.Flags().IntVar(&f.timeout, "timeout", 0, "`minutes` that a device has once it has started")
	cmd.Flags().StringSliceVar(&f.aborts, "abort", nil, "cancel the job when too much fails, as `FAILURE:PERCENT:MIN`, such as all:20%:10: of at least 10 that ended")
	if err := cmd.MarkFlagRequired("document"); err != nil {
		panic("the flag is there: " + err.Error())
	}
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

// request returns what the flags ask for.
func (f *jobFlags) request(r *remote, a []string) (*client.NewJob, error) {
	n := &client.NewJob{
		ID: twin.JobID(f.id), Description: f.description, Model: f.model, Where: f.where, Rate: f.rate, Timeout: f.timeout, Document: json.RawMessage(f.document),
	}
	if path, ok := strings.CutPrefix(f.document, "@"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("--document: %w", err)
		}
		n.Document = b
	}
	if !json.Valid(n.Document) {
		return nil, errors.New("--document is no JSON")
	}
	for _, name := range a {
		thing, err := r.thing(name)
		if err != nil {
			return nil, err
		}
		n.Things = append(n.Things, thing)
	}
	if err := f.addThings(n); err != nil {
		return nil, err
	}
	if len(n.Things) == 0 && n.Model == "" && n.Where == "" {
		return nil, errors.New("name things, or give --model, --where or --things-file")
	}
	if f.pause != "" && f.wave == "" {
		return nil, errors.New("--pause needs --wave")
	}
	for size := range strings.SplitSeq(f.wave, ",") {
		if size == "" {
			continue
		}
		wave, err := parseWave(size, f.pause)
		if err != nil {
			return nil, err
		}
		n.Waves = append(n.Waves, wave)
	}
	for _, text := range f.aborts {
		rule, err := parseAbort(text)
		if err != nil {
			return nil, err
		}
		n.Aborts = append(n.Aborts, rule)
	}
	return n, nil
}

// addThings adds the things of a file.
func (f *jobFlags) addThings(n *client.NewJob) error {
	if f.thingsFile == "" {
		return nil
	}
	b, err := os.ReadFile(f.thingsFile)
	if err != nil {
		return fmt.Errorf("--things-file: %w", err)
	}
	lines := bufio.NewScanner(strings.NewReader(string(b)))
	for number := 1; lines.Scan(); number++ {
		name := twin.ThingName(strings.TrimSpace(lines.Text()))
		if name == "" {
			continue
		}
		if !name.Valid() {
			return fmt.Errorf("%s:%d: %.140q is no thing name", f.thingsFile, number, name)
		}
		n.Things = append(n.Things, name)
	}
	return lines.Err()
}

func parseWave(size, pause string) (w client.JobWave, err error) {
	w.Pause = pause
	if text, ok := strings.CutSuffix(size, "%"); ok {
		if w.Percent, err = strconv.ParseFloat(text, 64); err != nil || w.Percent <= 0 || w.Percent > 100 {
			return w, fmt.Errorf("--wave %s is not up to 100%%", size)
		}
		return w, nil
	}
	if w.Size, err = strconv.Atoi(size); err != nil || w.Size < 1 {
		return w, fmt.Errorf("--wave %s is neither a number of things nor a percentage", size)
	}
	return w, nil
}

func parseAbort(text string) (a client.JobAbort, err error) {
	parts := strings.Split(text, ":")
	if len(parts) == 3 {
		a.Failure = parts[0]
		percent, perr := strconv.ParseFloat(strings.TrimSuffix(parts[1], "%"), 64)
		ended, eerr := strconv.Atoi(parts[2])
		if a.Percent, a.MinEnded = percent, ended; perr == nil && eerr == nil {
			return a, nil
		}
	}
	return a, fmt.Errorf("--abort %q is not as all:20%%:10", text)
}

func (r *remote) writeJob(cmd *cobra.Command, j *client.Job) error {
	out := cmd.OutOrStdout()
	if r.output == "json" {
		_, err := out.Write(j.Raw)
		return err
	}
	_, err := fmt.Fprintf(out, "%s  %s  %s\n", j.ID, aboutJob(j), countsText(j))
	return err
}

func aboutJob(j *client.Job) string {
	text := string(j.State)
	if j.Version != "" {
		text = "version " + safe(j.Version) + "  " + text
	}
	if j.Code != "" {
		text += " " + safe(j.Code)
	}
	if j.Reason != "" {
		text += " " + string(appendString(nil, j.Reason))
	}
	return text
}

// countsText names the counts that are not 0.
func countsText(j *client.Job) string {
	var text strings.Builder
	text.WriteString(strconv.Itoa(j.Things) + " things")
	for _, part := range []struct {
		n    int
		name string
	}{
		{j.Counts.Waiting, "waiting"},
		{j.Counts.Queued, "queued"},
		{j.Counts.InProgress, "in progress"},
		{j.Counts.Succeeded, "succeeded"},
		{j.Counts.Failed, "failed"},
		{j.Counts.TimedOut, "timed out"},
		{j.Counts.Rejected, "rejected"},
		{j.Counts.Removed, "removed"},
		{j.Counts.Canceled, "canceled"},
	} {
		if part.n > 0 {
			text.WriteString(", " + strconv.Itoa(part.n) + " " + part.name)
		}
	}
	return text.String()
}

func newJobList() *cobra.Command {
	r := &remote{}
	var limit int
	cmd := &cobra.Command{
		Use:     "ls [THING]",
		Short:   "List jobs, or those of one thing",
		Long:    "List jobs, the newest first; with a thing, what became of its jobs.",
		Example: "  twofold job ls\n  twofold job ls pump-7",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			if len(a) == 0 {
				return explain(r.listJobs(cmd.Context(), cmd, c, limit))
			}
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			return explain(r.listExecutions(cmd, c.ThingJobs(cmd.Context(), thing, nil, limit), func(e *client.Execution) string { return string(e.Job) }))
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "at most so `many`; 0: all")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "ndjson")
	return cmd
}

func (r *remote) listJobs(ctx context.Context, cmd *cobra.Command, c *client.Client, limit int) error {
	t := newTable(cmd.OutOrStdout())
	none := true
	for j, err := range c.Jobs(ctx, limit) {
		if err != nil {
			return err
		}
		if none = false; r.output == "ndjson" {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", j.Raw); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", local(j.Created), j.ID, aboutJob(&j), countsText(&j)); err != nil {
			return err
		}
	}
	if none && r.output == "text" {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "no jobs\n")
		return err
	}
	return t.Flush()
}

// listExecutions shows executions by what tells them apart.
func (r *remote) listExecutions(cmd *cobra.Command, list func(func(client.Execution, error) bool), key func(*client.Execution) string) error {
	t := newTable(cmd.OutOrStdout())
	none := true
	for e, err := range list {
		if err != nil {
			return err
		}
		if none = false; r.output == "ndjson" {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", e.Raw); err != nil {
				return err
			}
			continue
		}
		text := string(e.Status)
		if e.Reason != "" {
			text += " " + string(appendString(nil, e.Reason))
		}
		if len(e.Details) > 0 {
			details, err := json.Marshal(e.Details)
			if err != nil {
				return err
			}
			text += " " + safe(string(details))
		}
		if _, err := fmt.Fprintf(t, "%s\t%s\t%s\n", local(e.Updated), key(&e), text); err != nil {
			return err
		}
	}
	if none && r.output == "text" {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "no executions\n")
		return err
	}
	return t.Flush()
}

func newJobShow() *cobra.Command {
	r := &remote{}
	var statuses []string
	var limit int
	things := false
	cmd := &cobra.Command{
		Use:     "show JOB",
		Short:   "Show a job with exact counts, and its things",
		Example: "  twofold job show fw-2 --things --status failed,timed_out",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.oneJob(a[0], func(c *client.Client, id twin.JobID) error {
				j, err := c.Job(cmd.Context(), id)
				if err != nil {
					return err
				}
				if err := r.writeJob(cmd, j); err != nil || !things && statuses == nil {
					return err
				}
				return r.listExecutions(cmd, c.JobExecutions(cmd.Context(), id, statuses, limit), func(e *client.Execution) string { return string(e.DeviceID) })
			})
		},
	}
	cmd.Flags().BoolVar(&things, "things", false, "its things too")
	cmd.Flags().StringSliceVar(&statuses, "status", nil, "only things in these `statuses`; pending: those that have not ended")
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "at most so `many` things; 0: all")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func newJobChange(name, short string, change func(*client.Client, context.Context, twin.JobID) (*client.Job, error)) *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   name + " JOB",
		Short: short,
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.oneJob(a[0], func(c *client.Client, id twin.JobID) error {
				j, err := change(c, cmd.Context(), id)
				if err != nil {
					return err
				}
				return r.writeJob(cmd, j)
			})
		},
	}
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func newJobCancel() *cobra.Command {
	r := &remote{}
	force := false
	var reason string
	cmd := &cobra.Command{
		Use:   "cancel JOB",
		Short: "Cancel a job",
		Long:  "Cancel a job: no further thing gets it, and those that have not started it do not any more. With --force also those that have.",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.oneJob(a[0], func(c *client.Client, id twin.JobID) error {
				j, err := c.CancelJob(cmd.Context(), id, force, reason)
				if err != nil {
					return err
				}
				return r.writeJob(cmd, j)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also where it is in progress")
	cmd.Flags().StringVar(&reason, "reason", "", "a `text` that says why")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

// oneJob does something with the job that an argument names.
func (r *remote) oneJob(name string, do func(*client.Client, twin.JobID) error) error {
	id := twin.JobID(name)
	if !id.Valid() {
		return &usageError{fmt.Errorf("%q is no id of a job", name)}
	}
	c, err := r.client()
	if err != nil {
		return err
	}
	err = do(c, id)
	if client.IsNotFound(err) {
		return fmt.Errorf("%w; `twofold job ls` lists the jobs", err)
	}
	return explain(err)
}
