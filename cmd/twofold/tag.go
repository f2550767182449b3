package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
)

func newTag() *cobra.Command {
	r := &remote{}
	var model string
	create := false
	cmd := &cobra.Command{
		Use:   "tag THING [KEY=VALUE | KEY-]...",
		Short: "Set model and tags of a twin",
		Long: "Set model and tags of a twin: what is said of it beside what it reports. KEY- removes a tag, --model ''\n" +
			"the model. With --create the twin is made first, before its device says anything.",
		Example: "  twofold tag pump-7 site=hh1 floor- --model pump\n  twofold tag pump-8 --create --model pump",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			thing, err := r.thing(a[0])
			if err != nil {
				return err
			}
			tags, err := parseTags(a[1:])
			if err != nil {
				return err
			}
			var setModel *string
			if cmd.Flags().Changed("model") {
				setModel = &model
			}
			if !create && setModel == nil && len(tags) == 0 {
				return &usageError{errors.New("tag needs KEY=VALUE, KEY- or --model")}
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			if create {
				if _, err := c.Create(cmd.Context(), client.Attributes{DeviceID: thing}); err != nil {
					return explain(err)
				}
			}
			now, err := c.SetAttributes(cmd.Context(), thing, setModel, tags)
			if err != nil {
				return explain(err)
			}
			if r.output == "json" {
				_, err := cmd.OutOrStdout().Write(now.Raw)
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  model %s  %s\n", now.DeviceID, orNotSet(now.Model), orNotSet(tagText(now.Tags)))
			return err
		},
	}
	cmd.ValidArgsFunction = r.completeThing
	cmd.Flags().StringVar(&model, "model", "", "of which `model` the thing is")
	cmd.Flags().BoolVar(&create, "create", false, "make the twin first; it is an error if that was done before")
	r.addServer(cmd)
	r.addOutput(cmd, "text", "json")
	return cmd
}

// parseTags reads KEY=VALUE, and KEY- for a tag to remove (nil).
func parseTags(words []string) (map[string]*string, error) {
	tags := map[string]*string{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			if key, ok = strings.CutSuffix(word, "-"); !ok {
				return nil, &usageError{fmt.Errorf("%q is neither KEY=VALUE nor KEY-", word)}
			}
		}
		if _, twice := tags[key]; twice || key == "" {
			return nil, &usageError{fmt.Errorf("%q: the key is empty or given twice", word)}
		}
		tags[key] = nil
		if strings.Contains(word, "=") {
			tags[key] = &value
		}
	}
	return tags, nil
}

func tagText(tags map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		parts = append(parts, safe(k)+"="+safe(tags[k]))
	}
	return strings.Join(parts, " ")
}
