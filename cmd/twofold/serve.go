package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/twofold-iot/twofold/internal/server"
)

func newServe() *cobra.Command {
	var readyFile string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Start a server",
		Long: "Start a server. It serves this machine only: until there is authentication, every address that is not\n" +
			"loopback is refused. Each flag has a key in the configuration file and a variable in the environment;\n" +
			"`twofold config print --origin` shows them. A flag wins over the environment, that over the file.",
		Args: args(cobra.NoArgs),
	}
	load := addConfigFlags(cmd)
	cmd.Flags().StringVar(&readyFile, "ready-file", "", "write the open addresses as JSON to `file` when they are open")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := load()
		if err != nil {
			return err
		}
		return serve(cmd.Context(), cmd.OutOrStdout(), loaded, readyFile)
	}
	return cmd
}

// addConfigFlags gives a command the flags that set configuration, and returns what
// loads it after they were parsed.
func addConfigFlags(cmd *cobra.Command) func() (*server.Loaded, error) {
	file := cmd.Flags().String("config", os.Getenv("TWOFOLD_CONFIG"), "configuration `file` (YAML); the default is TWOFOLD_CONFIG if set")
	keys := map[string]string{}
	for _, f := range server.Flags() {
		cmd.Flags().String(f.Name, f.Default, f.Usage)
		keys[f.Name] = f.Key
	}
	return func() (*server.Loaded, error) {
		given := map[string]string{}
		cmd.Flags().Visit(func(f *pflag.Flag) {
			if key, ok := keys[f.Name]; ok {
				given[key] = f.Value.String()
			}
		})
		return server.Load(server.Source{File: *file, Env: os.Environ(), Flags: given})
	}
}

// serve runs a server until a signal. The first one stops it gracefully, a second
// one ends the process at once.
func serve(ctx context.Context, out io.Writer, loaded *server.Loaded, readyFile string) (err error) {
	ctx, stop := signals(ctx)
	defer stop()

	log := loaded.Config.Log.NewLogger(os.Stderr)
	for _, w := range loaded.Warnings {
		log.Warn("configuration", "warning", w)
	}
	s, err := server.Open(loaded.Config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if readyFile != "" {
		if err := writeReady(readyFile, s.Addresses()); err != nil {
			return fmt.Errorf("write --ready-file: %w", err)
		}
		defer func() { _ = os.Remove(readyFile) }() // a stale one is replaced at the next start
	}
	if err := writeBanner(out, &loaded.Config, s.Addresses()); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	if err := s.Run(ctx); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// signals returns a context that ends with the first signal to stop; a second one
// ends the process.
func signals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	got := make(chan os.Signal, 2)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-got:
			cancel()
		case <-done:
			return
		}
		select {
		case s := <-got:
			fmt.Fprintf(os.Stderr, "twofold: second signal (%s): ended at once; everything acknowledged is on disk\n", s)
			os.Exit(exitError)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(got)
		close(done)
		cancel()
	}
}

// writeReady writes the addresses as one JSON object, name to host:port, with the
// process id. The file appears whole.
func writeReady(path string, addrs []server.Address) error {
	ready := map[string]any{"pid": os.Getpid()}
	for _, a := range addrs {
		ready[a.Name] = a.Addr
	}
	b, err := json.Marshal(ready)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func writeBanner(w io.Writer, c *server.Config, addrs []server.Address) error {
	dir, err := filepath.Abs(c.Data)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "twofold %s\n\n", describe(server.Build()))
	fmt.Fprintf(&b, "  data   %s (every acknowledged update is on disk)\n", dir)
	for _, a := range addrs {
		fmt.Fprintf(&b, "  %-5s  %s\n", a.Name, a.URL())
	}
	fmt.Fprintf(&b, "  login  none: only this machine can connect, other addresses are refused\n\n")
	b.WriteString("try, in another terminal:\n")
	for _, a := range addrs {
		switch a.Name {
		case "mqtt":
			_, port, _ := strings.Cut(a.Addr, ":")
			flag := ""
			if port != "1883" {
				flag = " -p " + port
			}
			fmt.Fprintf(&b, "  mosquitto_pub%s -t '$aws/things/lamp-1/shadow/update' -q 1 -m '{\"state\":{\"reported\":{\"on\":true,\"level\":40}}}'\n", flag)
		case "http":
			flag := ""
			if a.URL() != defaultServer {
				flag = " --server " + a.URL()
			}
			fmt.Fprintf(&b, "  twofold set%s lamp-1 level=80\n  twofold get%s lamp-1\n  curl %s/twins/lamp-1\n", flag, flag, a.URL())
		}
	}
	b.WriteString("\nctrl-c stops it\n")
	_, err = io.WriteString(w, b.String())
	return err
}
