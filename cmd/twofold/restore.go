package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/internal/server"
)

func newRestore() *cobra.Command {
	o := &offline{}
	verify, quick := false, false
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a data folder of a backup, or prove that it can be done",
		Long: "Make a data folder of a backup; - is standard input. The folder must be new or empty, and it is a data folder\n" +
			"only when everything is checked. With --verify it is restored to a temporary folder (in TMPDIR), the chain of\n" +
			"every thing is checked and every shadow is folded anew, and all is removed again; --quick only reads\n" +
			"the checksums.",
		Example: "  twofold restore --verify twofold.backup\n  twofold restore twofold.backup --data ./twofold-data",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if quick && !verify {
				return &usageError{errors.New("--quick is about --verify")}
			}
			if verify && cmd.Flags().Changed("data") {
				return &usageError{errors.New("--verify makes no data folder: give it without --data")}
			}
			if !verify && !cmd.Flags().Changed("data") {
				return &usageError{errors.New("give the folder to make with --data")}
			}
			return o.fromFile(cmd, a[0], func(ctx context.Context, in io.Reader) error {
				switch {
				case quick:
					return o.verifyQuick(ctx, cmd, a[0], in)
				case verify:
					return o.verifyDeep(ctx, cmd, a[0], in)
				}
				return o.restore(ctx, cmd, in)
			})
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "only prove that the backup is whole and that what it holds is true")
	cmd.Flags().BoolVar(&quick, "quick", false, "with --verify: only the checksums of the file")
	o.add(cmd)
	return cmd
}

// fromFile opens a backup.
func (o *offline) fromFile(cmd *cobra.Command, path string, f func(context.Context, io.Reader) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if path == "-" {
		return f(ctx, cmd.InOrStdin())
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	if err := f(ctx, file); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (o *offline) restore(ctx context.Context, cmd *cobra.Command, in io.Reader) error {
	progress, done := backupProgress(cmd.ErrOrStderr())
	report, err := server.Restore(ctx, in, o.data, warnings(cmd), progress)
	done()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", o.data, backupSummary(&report))
	return err
}

func (o *offline) verifyQuick(ctx context.Context, cmd *cobra.Command, path string, in io.Reader) error {
	progress, done := backupProgress(cmd.ErrOrStderr())
	report, err := server.VerifyBackup(ctx, in, progress)
	done()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  whole: %s\n", path, backupSummary(&report))
	return err
}

// verifyDeep restores to a folder of its own and proves what is there.
func (o *offline) verifyDeep(ctx context.Context, cmd *cobra.Command, path string, in io.Reader) (err error) {
	temp, err := os.MkdirTemp("", "twofold-verify-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	check := &offline{data: filepath.Join(temp, "data")}
	progress, done := backupProgress(cmd.ErrOrStderr())
	report, err := server.Restore(ctx, in, check.data, warnings(cmd), progress)
	done()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  whole: %s\n", path, backupSummary(&report)); err != nil {
		return err
	}
	return check.with(cmd, func(ctx context.Context, s *server.Offline) error { return check.verify(ctx, cmd, s, true, "") })
}

func warnings(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
