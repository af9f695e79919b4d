package cli

import (
	"fmt"

	"github.com/spf13/cobra"

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
			var rows [][]any
			bad := 0
			for _, x := range found {
				verdict := "ok"
				if !x.OK {
					verdict = "WRONG"
					bad++
				}
				rows = append(rows, []any{x.Check, verdict, x.Detail, x.Mend})
			}
			if err := a.printList(cmd, found, []string{"Check", "Verdict", "Seen", "How to mend it"}, rows); err != nil {
				return err
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d checks failed", bad, len(found))
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}
