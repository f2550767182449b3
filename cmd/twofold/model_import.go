package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/internal/model/convert"
)

func newModelImport() *cobra.Command {
	var o convert.Options
	var format string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a model of a detector model of AWS IoT Events, a WoT Thing Model or a DTDL interface",
		Long: "Make a model of a detector model of AWS IoT Events (its behaviour), a WoT Thing Model or a DTDL interface of version\n" +
			"2 to 4 (its schema), and write it as YAML; - is the standard input. What could not be taken over is in comments at its\n" +
			"head. Nothing is put into force: look at it, then apply it.",
		Example: "  aws iotevents describe-detector-model --detector-model-name pump | twofold model import - > pump.yaml\n  twofold model import thermostat.dtdl.json > thermostat.yaml && twofold model apply thermostat.yaml --dry-run",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			source, err := readModel(cmd.InOrStdin(), a[0], false)
			if err != nil {
				return err
			}
			m, err := convert.Convert(source, format, o)
			if err != nil {
				return fmt.Errorf("%s: %w", a[0], err)
			}
			if _, err := cmd.OutOrStdout().Write(m.Source); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "model %s; %s not taken over, see its comments\n", m.Name, many(len(m.Notes), "thing"))
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "of the file: "+strings.Join(convert.Formats(), ", ")+"; without it it is found out")
	cmd.Flags().StringVar(&o.Name, "name", "", "of the model; without it as the file has it")
	cmd.Flags().StringVar(&o.Inputs, "inputs", "reported", "where the values of inputs of AWS IoT Events are: reported or telemetry")
	cmd.Flags().StringVar(&o.Interface, "interface", "", "`id` of the DTDL interface, if the file has several; without it the first")
	return cmd
}
