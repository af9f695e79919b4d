package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/deploy"
	"github.com/huker/huker/runtime/docker"
)

func (a *app) newDoctorCommand() *cobra.Command {
	var f planeFlags
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Say what is wrong with this host, and how to mend it",
		Example: "  huker doctor\n  huker doctor --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := f.config(a.version)
			if err := c.Fill(); err != nil {
				return err
			}
			engine, unreachable := docker.Open(cmd.Context(), docker.Config{Owner: c.Name})
			if unreachable == nil {
				defer func() { _ = engine.Close() }()
			}
			plane := deploy.Plane{Name: c.Name, DataDir: c.DataDir, Health: c.Endpoint() + "/healthz"}
			found := deploy.Examine(cmd.Context(), plane, engine, unreachable)
			if unreachable == nil {
				found = append(found, databaseImages(cmd.Context()))
			}
			if err := a.printFindings(cmd, found); err != nil {
				return err
			}
			if bad := slices.DeleteFunc(slices.Clone(found), func(x deploy.Finding) bool { return x.OK }); len(bad) > 0 {
				return fmt.Errorf("%d of %d checks failed", len(bad), len(found))
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}

// databaseImages: without an image no database is made, and none whose container is gone starts again.
func databaseImages(ctx context.Context) deploy.Finding {
	f := deploy.Finding{Check: "database images"}
	versions, err := controlplane.BuiltVersions(ctx, "")
	switch {
	case err != nil:
		f.Detail, f.Mend = err.Error(), "look at the engine's log: journalctl -u docker"
	case len(versions) == 0:
		f.Detail, f.Mend = "there is none", "huker image build"
	default:
		f.OK = true
		var there []string
		for _, v := range versions {
			there = append(there, v.Image)
		}
		f.Detail = strings.Join(there, ", ")
	}
	return f
}

// findingWidth is where long texts are wrapped, so that a line is less than 160 wide.
const findingWidth = 60

func (a *app) printFindings(cmd *cobra.Command, found []deploy.Finding) error {
	if a.output == "json" {
		return a.printJSON(cmd, found)
	}
	w := newTable()
	wrapped := func(column int) table.ColumnConfig {
		return table.ColumnConfig{Number: column, WidthMax: findingWidth, WidthMaxEnforcer: text.WrapSoft}
	}
	w.SetColumnConfigs([]table.ColumnConfig{wrapped(3), wrapped(4)})
	w.AppendHeader(table.Row{"Check", "Verdict", "Seen", "How to mend it"})
	for _, x := range found {
		verdict := "ok"
		if !x.OK {
			verdict = "WRONG"
		}
		w.AppendRow(cells([]any{x.Check, verdict, x.Detail, x.Mend}))
	}
	return write(cmd.OutOrStdout(), w)
}
