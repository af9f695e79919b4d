package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

func (a *app) newFlavorCommand() *cobra.Command {
	return group("flavor", "Look at the sizes of instances", &cobra.Command{
		Use:     "list",
		Short:   "List the sizes that instances can have",
		Example: "  huker flavor list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			flavors, err := c.Flavors(cmd.Context())
			if err != nil {
				return err
			}
			var rows [][]any
			for _, f := range flavors {
				rows = append(rows, []any{f.ID, f.Name, fmt.Sprintf("%d MB", f.RAM), fmt.Sprintf("%g", f.VCPUs)})
			}
			return a.printList(cmd, flavors, []string{"id", "name", "memory", "cpus"}, rows)
		},
	})
}

func (a *app) newQuotaCommand() *cobra.Command {
	return group("quota", "Look at and change what a project may take", a.newQuotaShow(), a.newQuotaSet())
}

// project gives the id of the project that is named, or of the one that is worked in.
func (a *app) project(cmd *cobra.Command, c *client.Client, args []string) (string, error) {
	if len(args) == 0 {
		return c.ProjectID(cmd.Context())
	}
	p, err := c.FindProject(cmd.Context(), args[0])
	return p.ID, err
}

// quotaUnits are the resources with their units.
func quotaUnits() map[string]string {
	return map[string]string{"instances": "", "ram": " MB", "volumes": " GB", "backups": ""}
}

func (a *app) printQuota(cmd *cobra.Command, c *client.Client, project string) error {
	quota, err := c.Quota(cmd.Context(), project)
	if err != nil {
		return err
	}
	return a.printList(cmd, quota, []string{"resource", "in use", "limit"}, quotaRows(quota))
}

func quotaRows(quota []client.QuotaUsage) [][]any {
	var rows [][]any
	for _, q := range quota {
		limit := "none"
		if q.Limit >= 0 {
			limit = fmt.Sprintf("%d%s", q.Limit, quotaUnits()[q.Resource])
		}
		rows = append(rows, []any{q.Resource, fmt.Sprintf("%d%s", q.InUse, quotaUnits()[q.Resource]), limit})
	}
	return rows
}

func (a *app) newQuotaShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show [PROJECT]",
		Short:   "Show a project's limits and what it uses",
		Example: "  huker quota show",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			project, err := a.project(cmd, c, args)
			if err != nil {
				return err
			}
			return a.printQuota(cmd, c, project)
		},
	}
}

func (a *app) newQuotaSet() *cobra.Command {
	limits := map[string]*int{}
	cmd := &cobra.Command{
		Use:     "set [PROJECT]",
		Short:   "Change a project's limits (for administrators; -1 is no limit)",
		Example: "  huker quota set shop --instances 50 --volumes 2000",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			change := map[string]int{}
			for name, value := range limits {
				if cmd.Flags().Changed(name) {
					change[name] = *value
				}
			}
			if len(change) == 0 {
				return usagef("give at least one limit")
			}
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			project, err := a.project(cmd, c, args)
			if err != nil {
				return err
			}
			if err := c.SetQuota(cmd.Context(), project, change); err != nil {
				return err
			}
			return a.printQuota(cmd, c, project)
		},
	}
	for name, what := range map[string]string{"instances": "instances", "ram": "memory of all instances, in MB", "volumes": "volumes of all instances, in GB", "backups": "backups"} {
		limits[name] = cmd.Flags().Int(name, 0, what)
	}
	return cmd
}
