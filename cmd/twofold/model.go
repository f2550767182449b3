package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/internal/model/builtin"
)

func newModel() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Say what a kind of thing is: computed attributes and more",
		Long: "Say what a kind of thing is: computed attributes and more. A model is a YAML or JSON file; a twin has the model\n" +
			"that `twofold tag THING --model NAME` gives it.",
	}
	group(cmd)
	cmd.AddCommand(newModelList(), newModelGet(), newModelApply(), newModelVersions(), newModelRemove(), newModelBuiltin(), newModelPreview(), newModelImport())
	return cmd
}

// withModel runs something for a model, and says where to look if there is no such.
func (r *remote) withModel(do func(*client.Client) error) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	err = do(c)
	if client.IsNotFound(err) {
		return fmt.Errorf("%w; `twofold model ls` lists the models", err)
	}
	return explain(err)
}

func newModelList() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the models in force",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.withModel(func(c *client.Client) error {
				list, err := c.Models(cmd.Context())
				if err != nil {
					return err
				}
				if len(list) == 0 && r.output == "text" {
					_, err := fmt.Fprintln(cmd.OutOrStdout(), "no models")
					return err
				}
				return writeModels(cmd.OutOrStdout(), list, r.output, func(m *client.Model) string {
					return fmt.Sprintf("%s\tv%d\t%s\t%s", m.Name, m.Version, many(m.Twins, "twin"), local(m.Applied))
				})
			})
		},
	}
	r.addServer(cmd)
	r.addOutput(cmd, "text", "ndjson")
	return cmd
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func writeModels(w io.Writer, list []client.Model, output string, line func(*client.Model) string) error {
	t := newTable(w)
	for i := range list {
		text := line(&list[i])
		if output == "ndjson" {
			text = string(list[i].Raw)
		}
		if _, err := fmt.Fprintln(t, text); err != nil {
			return err
		}
	}
	return t.Flush()
}

func newModelGet() *cobra.Command {
	r := &remote{}
	var version uint32
	cmd := &cobra.Command{
		Use:     "get NAME",
		Short:   "Show the definition of a model",
		Example: "  twofold model get pump > pump.yaml\n  twofold model get pump --version 3",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.withModel(func(c *client.Client) error {
				m, err := c.Model(cmd.Context(), a[0], version)
				switch {
				case err != nil:
					return err
				case r.output == "json":
					_, err = cmd.OutOrStdout().Write(m.Raw)
				case m.Removed:
					return fmt.Errorf("with version %d model %s was removed", m.Version, a[0])
				default:
					_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSuffix(m.Source, "\n"))
				}
				return err
			})
		},
	}
	cmd.Flags().Uint32Var(&version, "version", 0, "this `version`, not the one in force")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

func newModelApply() *cobra.Command {
	r := &remote{}
	var dry, ours bool
	var expect int64
	cmd := &cobra.Command{
		Use:   "apply FILE...",
		Short: "Put models into force, or with --dry-run say what that would do",
		Long: "Put models into force from YAML or JSON files, - is the standard input. With --dry-run nothing is changed: it\n" +
			"says of which twins computed attributes would change, and which would fail. A file that is wrong changes nothing.",
		Example: "  twofold model apply pump.yaml --dry-run\n  twofold model apply pump.yaml valve.yaml\n  twofold model apply --builtin thermostat",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			if expect >= 0 && len(files) > 1 {
				return &usageError{errors.New("--if-version is about one model; give one file")}
			}
			return r.withModel(func(c *client.Client) error {
				for _, file := range files {
					source, err := readModel(cmd.InOrStdin(), file, ours)
					if err != nil {
						return err
					}
					m := client.ApplyModel{Source: source, DryRun: dry}
					if expect >= 0 {
						number := uint32(expect)
						m.Expect = &number
					}
					applied, err := c.ApplyModel(cmd.Context(), m)
					if err != nil {
						return fmt.Errorf("%s: %w", file, err)
					}
					if r.output == "json" {
						_, err = cmd.OutOrStdout().Write(applied.Raw)
					} else {
						err = writeApplied(cmd.OutOrStdout(), applied)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would change, and change nothing")
	cmd.Flags().BoolVar(&ours, "builtin", false, "not files but names of models that come with twofold, see twofold model builtin")
	cmd.Flags().Int64Var(&expect, "if-version", -1, "only if this `version` is in force, 0 if none is")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

// readModel reads a model that comes with twofold, a file, or the standard input for "-".
func readModel(in io.Reader, name string, ours bool) ([]byte, error) {
	switch {
	case ours:
		source, err := builtin.Source(name)
		if err != nil {
			return nil, &usageError{err}
		}
		return source, nil
	case name == "-":
		return io.ReadAll(in)
	}
	return os.ReadFile(name)
}

func newModelBuiltin() *cobra.Command {
	return &cobra.Command{
		Use:     "builtin [NAME]",
		Short:   "List the models that come with twofold, or show one",
		Long:    "List the models that come with twofold, or show one: to be applied as it is, or to start from.",
		Example: "  twofold model builtin\n  twofold model builtin pump > pump.yaml",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) == 1 {
				source, err := readModel(nil, a[0], true)
				if err == nil {
					_, err = cmd.OutOrStdout().Write(source)
				}
				return err
			}
			t := newTable(cmd.OutOrStdout())
			for _, name := range builtin.Names() {
				if _, err := fmt.Fprintf(t, "%s\t%s\n", name, builtin.About(name)); err != nil {
					return err
				}
			}
			return t.Flush()
		},
	}
}

func writeApplied(w io.Writer, a *client.AppliedModel) error {
	state := fmt.Sprintf("v%d", a.Version)
	switch {
	case a.Unchanged:
		state += " is in force already"
	case a.DryRun:
		state = "dry run, nothing is changed"
	}
	change, fail := "change", "fail"
	if a.Changed == 1 {
		change = "changes"
	}
	if a.Failing == 1 {
		fail = "fails"
	}
	if _, err := fmt.Fprintf(w, "%s  %s  %s, %d %s, %d %s\n", a.Name, state, many(a.Twins, "twin"), a.Changed, change, a.Failing, fail); err != nil {
		return err
	}
	t := newTable(w)
	for _, x := range a.Examples {
		after := valueText(x.After)
		if x.Reason != "" {
			after += "\t" + safe(x.Reason)
		}
		if _, err := fmt.Fprintf(t, "  %s\t%s\t%s →\t%s\n", x.DeviceID, safe(x.Attribute), valueText(x.Before), after); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Alarms)) {
		if _, err := fmt.Fprintf(t, "  alarm %s\t%s\n", safe(name), many(a.Alarms[name], "twin")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// valueText shows a value of JSON, null as one that is not there.
func valueText(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return notSet
	}
	return safe(string(raw))
}

func newModelVersions() *cobra.Command {
	r := &remote{}
	limit := 0
	cmd := &cobra.Command{
		Use:   "versions NAME",
		Short: "List the versions of a model, newest first",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.withModel(func(c *client.Client) error {
				list, err := c.ModelVersions(cmd.Context(), a[0], limit)
				if err != nil {
					return err
				}
				return writeModels(cmd.OutOrStdout(), list, r.output, func(m *client.Model) string {
					what := "applied"
					if m.Removed {
						what = "removed"
					}
					return fmt.Sprintf("v%d\t%s\t%s\t%s", m.Version, local(m.Applied), what, safe(m.By))
				})
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many, up to 1000")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "ndjson")
	return cmd
}

func newModelRemove() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Take a model out of force; its versions and twins stay",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return r.withModel(func(c *client.Client) error { return c.RemoveModel(cmd.Context(), a[0]) })
		},
	}
	r.addServer(cmd)
	return cmd
}

func newComputed() *cobra.Command {
	r := &remote{}
	var from, to string
	var q client.ComputedHistoryQuery
	cmd := &cobra.Command{
		Use:   "computed THING [ATTRIBUTE]",
		Short: "Show what the model of a thing computes, and why; or the past of one attribute",
		Long: "Show what the model of a thing computes, and why; or the past of one attribute, as it was recorded or with --revise\n" +
			"as the model in force makes it of the same past, with what was recorded beside it.",
		Example: "  twofold computed pump-7\n  twofold computed pump-7 efficiency --from 7d --revise",
		Args:    args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			if q.From, q.To, err = times(from, to); err != nil {
				return err
			}
			if len(a) == 2 {
				q.Thing, q.Attribute = thing, a[1]
				return computedPast(cmd, r, c, q)
			}
			v, err := c.Computed(cmd.Context(), thing)
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(v.Raw)
				return err
			}
			return writeComputed(cmd.OutOrStdout(), v)
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	addTimes(cmd, &from, &to)
	cmd.Flags().BoolVar(&q.Revise, "revise", false, "compute it anew, by the model in force")
	cmd.Flags().DurationVar(&q.Every, "every", 0, "the distance of the values of an attribute that is over time")
	r.addServer(cmd)
	r.addOutput(cmd, "table", "json")
	return cmd
}

func writeComputed(w io.Writer, v *client.Computed) error {
	if _, err := fmt.Fprintf(w, "%s  %s v%d  %s\n", v.DeviceID, safe(v.Model), v.ModelVersion, local(v.Time)); err != nil {
		return err
	}
	t := newTable(w)
	for i := range v.Computed {
		a := &v.Computed[i]
		value := valueText(a.Value)
		if a.Unit != "" && value != notSet {
			value += " " + safe(a.Unit)
		}
		why := make([]string, 0, len(a.Inputs))
		for _, in := range a.Inputs {
			text := valueText(in.Value)
			if in.There && text == notSet {
				text = "…" // an object or an array
			}
			why = append(why, safe(in.Path)+" = "+text)
		}
		if a.Reason != "" {
			why = append([]string{safe(a.Reason)}, why...)
		}
		if _, err := fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", safe(a.Name), value, safe(a.Expression), strings.Join(why, "; ")); err != nil {
			return err
		}
	}
	return t.Flush()
}
