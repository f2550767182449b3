package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/internal/server"
	"github.com/twofold-iot/twofold/twin"
)

const defaultServer = "http://127.0.0.1:8080"

// newRoot builds the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "twofold",
		Short: "Self-hosted digital twins for IoT devices",
		Long: "Self-hosted digital twins for IoT devices: devices speak the AWS IoT Device Shadow protocol over MQTT,\n" +
			"their twins are kept here and read over HTTP.\n\n" +
			"  twofold serve               start a server\n" +
			"  twofold set lamp-1 on=true  ask a device for a state\n" +
			"  twofold get lamp-1          see what was asked and what was reported",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	group(root)
	root.SetOut(os.Stdout)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	})
	root.SetHelpTemplate(root.HelpTemplate() + "\n" + exitHelp)
	root.AddCommand(newServe(), newGet(), newSet(), newDelete(), newTag(), newList(), newHistory(), newEvents(), newDiff(), newWatch(), newTelemetry(), newSeries(), newCommand(), newJob(), newWebhook(), newModel(), newComputed(), newAlarm(), newBehaviour(), newProfile(), newIntents(), newAnomaly(), newPrediction(), newMaintenance(), newPredict(), newFleet(), newGroup(),
		newVerify(), newReplay(), newExport(), newImport(), newStorage(), newBackup(), newRestore(), newConfig(), newVersion())
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	return root
}

// group makes a command that only holds others: alone it shows its help, and a word
// that is none of its commands is a usage error.
func group(cmd *cobra.Command) {
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.Args = func(cmd *cobra.Command, a []string) error {
		if len(a) == 0 {
			return nil
		}
		near := ""
		if names := cmd.SuggestionsFor(a[0]); len(names) > 0 {
			near = "did you mean " + strings.Join(names, " or ") + "? "
		}
		return &usageError{fmt.Errorf("unknown command %q for %q; %ssee `%s --help`", a[0], cmd.CommandPath(), near, cmd.CommandPath())}
	}
	cmd.SuggestionsMinimumDistance = 2
}

// args wraps a check of arguments so that a failure is a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if err := check(cmd, a); err != nil {
			return &usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}

// remote are the flags of every command that talks to a server.
type remote struct {
	server string
	shadow string
	output string
}

func (r *remote) addServer(cmd *cobra.Command) {
	def := defaultServer
	if env := os.Getenv("TWOFOLD_SERVER"); env != "" {
		def = env
	}
	cmd.Flags().StringVar(&r.server, "server", def, "`URL` of the server; the default is TWOFOLD_SERVER if set")
}

func (r *remote) addShadow(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.shadow, "shadow", "", "`name` of a named shadow; empty is the classic one")
}

func (r *remote) addOutput(cmd *cobra.Command, formats ...string) {
	cmd.Flags().StringVarP(&r.output, "output", "o", formats[0], "output as `"+strings.Join(formats, "|")+"`")
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, a []string) error {
		if !slices.Contains(formats, r.output) {
			return &usageError{fmt.Errorf("output %q is not one of %s", r.output, strings.Join(formats, ", "))}
		}
		if check != nil {
			return check(cmd, a)
		}
		return nil
	}
}

func (r *remote) client() (*client.Client, error) {
	c, err := client.New(r.server, client.Options{UserAgent: "twofold/" + server.Version()})
	if err != nil {
		return nil, &usageError{fmt.Errorf("%w; give --server or TWOFOLD_SERVER", err)}
	}
	return c, nil
}

// thing checks the names of a request before anything is sent.
func (r *remote) thing(name string) (twin.ThingName, error) {
	t := twin.ThingName(name)
	if !t.Valid() {
		return "", &usageError{fmt.Errorf("%q is no thing name: 1 to %d characters of a-z A-Z 0-9 : _ -", name, twin.ThingNameBytesMax)}
	}
	if r.shadow != "" && !twin.ShadowName(r.shadow).Valid() {
		return "", &usageError{fmt.Errorf("--shadow %q is no shadow name: 1 to %d characters of a-z A-Z 0-9 $ : _ -", r.shadow, twin.ShadowNameBytesMax)}
	}
	return t, nil
}

// explain adds what can be done about an error of the client.
func explain(err error) error {
	var unreachable *client.UnreachableError
	if errors.As(err, &unreachable) {
		return fmt.Errorf("%w; is `twofold serve` running there? another address: --server URL", err)
	}
	if client.IsNotFound(err) {
		return fmt.Errorf("%w; `twofold ls` lists the twins", err)
	}
	return err
}

// completeTimeout and completeMax bound what completion asks of a server.
const (
	completeTimeout = 300 * time.Millisecond
	completeMax     = 500
)

// completeThing completes the first argument with the names of things.
func (r *remote) completeThing(cmd *cobra.Command, a []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(a) != 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := r.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	var names []string
	for s, err := range c.Twins(ctx) {
		if err != nil || len(names) == completeMax {
			break
		}
		if strings.HasPrefix(string(s.DeviceID), prefix) {
			names = append(names, string(s.DeviceID))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
