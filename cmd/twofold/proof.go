package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/internal/server"
	"github.com/twofold-iot/twofold/twin"
)

// faultyError is a past in which faults were found.
type faultyError struct{ count uint64 }

func (e *faultyError) Error() string {
	return fmt.Sprintf("%d faults: what is kept is not what was acknowledged; keep a copy of it as it is, and compare with a backup", e.count)
}

// offline are the flags of every command that reads the data folder of a server that
// does not run.
type offline struct {
	data  string
	thing string
}

func (o *offline) add(cmd *cobra.Command) {
	def := server.Default().Data
	if env := os.Getenv(server.EnvName("data")); env != "" {
		def = env
	}
	cmd.Flags().StringVar(&o.data, "data", def, "data `folder` of a server that is stopped; the default is "+server.EnvName("data")+" if set")
}

func (o *offline) addThing(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.thing, "thing", "", "only this `thing`")
}

// with opens the store for f.
func (o *offline) with(cmd *cobra.Command, f func(ctx context.Context, s *server.Offline) error) (err error) {
	if o.thing != "" && !twin.ThingName(o.thing).Valid() {
		return &usageError{fmt.Errorf("%q is no thing name: 1 to %d characters of a-z A-Z 0-9 : _ -", o.thing, twin.ThingNameBytesMax)}
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := server.OpenOffline(o.data, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if o.thing != "" {
		known, err := s.Known(ctx, twin.ThingName(o.thing))
		if err != nil {
			return err
		}
		if !known {
			return twin.NewError(twin.KindNotFound, fmt.Sprintf("nothing is kept of %s in %s", o.thing, o.data))
		}
	}
	return f(ctx, s)
}

// options reports progress: over itself on a terminal, else a line every 10 seconds.
func (o *offline) options(ctx context.Context, cmd *cobra.Command, s *server.Offline) (opts proof.Options, done func(), err error) {
	expired, err := s.Expired(ctx)
	if err != nil {
		return opts, nil, err
	}
	w := cmd.ErrOrStderr()
	every, start, end := 10*time.Second, "", "\n"
	if terminal(w) {
		every, start, end = 500*time.Millisecond, "\r\x1b[K", ""
	}
	told := false
	opts = proof.Options{Thing: twin.ThingName(o.thing), Expired: expired, Now: time.Now, ProgressEvery: every}
	opts.Progress = func(p proof.Progress) {
		told = true
		_, _ = fmt.Fprintf(w, "%s%d things, %d events, %.0f a second%s", start, p.Things, p.Events, p.Rate(), end)
	}
	return opts, func() {
		if told && start != "" {
			_, _ = io.WriteString(w, start)
		}
	}, nil
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}

func newVerify() *cobra.Command {
	o := &offline{}
	var rebuild bool
	var heads, digest string
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Prove that nothing in the past was altered, lost or added",
		Long: "Prove that nothing in the past was altered, lost, moved, repeated or added: check the hash chain of every\n" +
			"thing in the data folder of a stopped server, or the audit file that `twofold export` wrote. A past that\n" +
			"was cut at its end, or written anew as a whole, shows only against heads that were exported before.",
		Example: "  twofold verify --data ./twofold-data\n  twofold verify --rebuild --heads heads-2026-11.ndjson\n  twofold verify audit.ndjson",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) == 1 {
				if rebuild || cmd.Flags().Changed("data") || o.thing != "" {
					return &usageError{errors.New("--data, --rebuild and --thing are about a data folder, not about a file")}
				}
				return verifyFile(cmd, a[0], heads, digest)
			}
			if digest != "" {
				return &usageError{errors.New("--digest is about an audit file")}
			}
			return o.with(cmd, func(ctx context.Context, s *server.Offline) error { return o.verify(ctx, cmd, s, rebuild, heads) })
		},
	}
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "also fold the events of every shadow and compare the outcome with it, byte for byte")
	cmd.Flags().StringVar(&heads, "heads", "", "also compare with heads exported to this `file` before")
	cmd.Flags().StringVar(&digest, "digest", "", "`digest` that an audit file must have")
	o.add(cmd)
	o.addThing(cmd)
	return cmd
}

func (o *offline) verify(ctx context.Context, cmd *cobra.Command, s *server.Offline, rebuild bool, heads string) error {
	var faults uint64
	run := func(name string, check func(proof.Options) (proof.Report, error)) error {
		opts, done, err := o.options(ctx, cmd, s)
		if err != nil {
			return err
		}
		r, err := check(opts)
		done()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: ", name); err != nil {
			return err
		}
		faults += uint64(len(r.Findings)) + r.Omitted
		if len(r.Findings) > 0 {
			if _, err := fmt.Fprintln(cmd.OutOrStdout()); err != nil {
				return err
			}
		}
		_, err = r.WriteTo(cmd.OutOrStdout())
		return err
	}
	src := s.Source()
	if err := run("chains", func(opts proof.Options) (proof.Report, error) { return proof.Verify(ctx, src, opts) }); err != nil {
		return err
	}
	if rebuild {
		if err := run("rebuild", func(opts proof.Options) (proof.Report, error) { return proof.Rebuild(ctx, src, opts) }); err != nil {
			return err
		}
	}
	if heads != "" {
		f, err := os.Open(heads)
		if err != nil {
			return fmt.Errorf("open the exported heads: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		if err := run("heads", func(opts proof.Options) (proof.Report, error) { return proof.CheckHeads(ctx, src, f, opts) }); err != nil {
			return err
		}
	}
	if faults > 0 {
		return &faultyError{faults}
	}
	return nil
}

func verifyFile(cmd *cobra.Command, path, heads, digest string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the audit file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	opts := proof.FileOptions{Digest: digest}
	if heads != "" {
		h, err := os.Open(heads)
		if err != nil {
			return fmt.Errorf("open the exported heads: %w", err)
		}
		defer func() { _ = h.Close() }() // only read
		opts.Heads = h
	}
	r, err := proof.CheckFile(f, opts)
	if err != nil {
		return err
	}
	if _, err := r.WriteTo(cmd.OutOrStdout()); err != nil {
		return err
	}
	if !r.OK() {
		return &faultyError{uint64(len(r.Findings)) + r.Omitted}
	}
	return nil
}

func newExport() *cobra.Command {
	o := &offline{}
	heads := false
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write the past with its proofs to a file, for an auditor",
		Long: "Write all events with their proofs as lines of JSON to a new file; - is standard output. The digest that is\n" +
			"printed proves the file to whoever has it from elsewhere. With --heads only the head of each thing is\n" +
			"written: kept elsewhere, it shows later whether the past was cut short or written anew.",
		Example: "  twofold export audit.ndjson --thing pump-7\n  twofold export --heads heads-2026-11.ndjson",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return o.with(cmd, func(ctx context.Context, s *server.Offline) error {
				return writeNew(cmd, a[0], func(w io.Writer) (string, error) {
					opts, done, err := o.options(ctx, cmd, s)
					if err != nil {
						return "", err
					}
					defer done()
					if heads {
						n, digest, err := proof.WriteHeads(ctx, s.Source(), w, opts)
						return fmt.Sprintf("%d heads  digest %s", n, digest), err
					}
					r, digest, err := proof.ExportAudit(ctx, s.Source(), w, opts)
					return fmt.Sprintf("%d things, %d events  digest %s", r.Things, r.Events, digest), err
				})
			})
		},
	}
	cmd.Flags().BoolVar(&heads, "heads", false, "only the heads")
	o.add(cmd)
	o.addThing(cmd)
	return cmd
}

// writeNew writes a file that must not be there yet, durably, and says what is in it.
// What is left half done is removed.
func writeNew(cmd *cobra.Command, path string, write func(io.Writer) (string, error)) (err error) {
	if path == "-" {
		summary, err := write(cmd.OutOrStdout())
		if err == nil {
			_, err = fmt.Fprintln(cmd.ErrOrStderr(), summary)
		}
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make the file: %w", err)
	}
	summary, err := write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", path, summary)
	return err
}

func newReplay() *cobra.Command {
	o := &offline{}
	var to, shadow string
	cmd := &cobra.Command{
		Use:     "replay THING",
		Short:   "Show step by step how the events of a thing made its state",
		Long:    "Show step by step how the events of a thing made its state, from the oldest that is kept on: state is the\nfold of events. It reads the data folder of a stopped server.",
		Example: "  twofold replay pump-7 --to '2026-11-22 03:00'\n  twofold replay pump-7 --to v12 --shadow net",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			o.thing = a[0]
			if shadow != "" && !twin.ShadowName(shadow).Valid() {
				return &usageError{fmt.Errorf("--shadow %q is no shadow name", shadow)}
			}
			end, err := replayEnd(to, time.Now())
			if err != nil {
				return err
			}
			key := twin.ShadowKey{Thing: twin.ThingName(o.thing), Shadow: twin.ShadowName(shadow)}
			return o.with(cmd, func(ctx context.Context, s *server.Offline) error {
				return proof.Replay(ctx, s.Source(), key, end, func(step proof.Step) error { return writeStep(cmd.OutOrStdout(), &step) })
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "until a version such as v12, or `when`: "+whenHelp+"; empty: the newest")
	cmd.Flags().StringVar(&shadow, "shadow", "", "`name` of a named shadow; empty is the classic one")
	o.add(cmd)
	return cmd
}

func replayEnd(text string, now time.Time) (proof.ReplayTo, error) {
	point, err := parsePoint("to", text, now)
	if err != nil || point == "" {
		return proof.ReplayTo{}, err
	}
	if digits, ok := strings.CutPrefix(point, "v"); ok {
		var v uint64
		_, err := fmt.Sscanf(digits, "%d", &v)
		return proof.ReplayTo{Version: twin.Version(v)}, err
	}
	t, err := time.Parse(time.RFC3339Nano, point)
	return proof.ReplayTo{Time: twin.TimeOf(t)}, err
}

func writeStep(w io.Writer, s *proof.Step) error {
	ev := &s.Event
	begins := ""
	if s.Begins {
		begins = "  (older events have expired: this is the state they left)"
	}
	if _, err := fmt.Fprintf(w, "%s  seq %d  v%d  %s  %s %s%s\n", local(ev.Time.Std()), ev.Seq, ev.Version, ev.Kind, ev.Origin.Door, safe(ev.Origin.Session), begins); err != nil {
		return err
	}
	line := func(name string, value []byte) error {
		if len(value) == 0 {
			return nil
		}
		_, err := fmt.Fprintf(w, "  %-9s %s\n", name, safe(string(value)))
		return err
	}
	if err := line("patch", ev.Patch); err != nil {
		return err
	}
	if !s.After.Exists() {
		return line("", []byte("the shadow does not exist"))
	}
	for _, part := range []struct {
		name string
		node *twin.Node
	}{{"reported", s.After.Reported}, {"desired", s.After.Desired}, {"delta", s.Delta}} {
		if part.node == nil {
			continue
		}
		if err := line(part.name, part.node.AppendJSON(nil)); err != nil {
			return err
		}
	}
	return nil
}
