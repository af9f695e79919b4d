package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

// statusView is what `huker status` tells.
type statusView struct {
	Endpoint  string              `json:"endpoint"`
	Health    map[string]string   `json:"health"`
	Instances map[string]int      `json:"instances"` // by status
	Quota     []client.QuotaUsage `json:"quota"`
}

func (a *app) newStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Say how the service and the project's instances are",
		Example: "  huker status\n  huker status -o json | jq .health",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			v, err := readStatus(cmd, c)
			if err != nil {
				return err
			}
			if err := a.printStatus(cmd, v); err != nil {
				return err
			}
			for part, how := range v.Health {
				if how != "ok" {
					return fmt.Errorf("%s %s", part, how)
				}
			}
			return nil
		},
	}
}

func readStatus(cmd *cobra.Command, c *client.Client) (statusView, error) {
	ctx := cmd.Context()
	v := statusView{Instances: map[string]int{}}
	var err error
	if v.Endpoint, err = c.Endpoint(ctx); err != nil {
		return v, err
	}
	if v.Health, err = c.Health(ctx); err != nil {
		return v, err
	}
	all, err := c.Instances(ctx)
	if err != nil {
		return v, err
	}
	for _, i := range all {
		v.Instances[i.Status]++
	}
	project, err := c.ProjectID(ctx)
	if err != nil {
		return v, err
	}
	v.Quota, err = c.Quota(ctx, project)
	return v, err
}

func (a *app) printStatus(cmd *cobra.Command, v statusView) error {
	var parts, counts []string
	for _, name := range slices.Sorted(maps.Keys(v.Health)) {
		parts = append(parts, name+" "+v.Health[name])
	}
	for _, status := range slices.Sorted(maps.Keys(v.Instances)) {
		counts = append(counts, fmt.Sprintf("%d %s", v.Instances[status], status))
	}
	pairs := []pair{{"endpoint", v.Endpoint}, {"health", strings.Join(parts, ", ")}, {"instances", first(strings.Join(counts, ", "), "none")}}
	for _, row := range quotaRows(v.Quota) {
		pairs = append(pairs, pair{fmt.Sprint(row[0]) + " in use", fmt.Sprintf("%v (limit: %v)", row[1], row[2])})
	}
	return a.printOne(cmd, v, pairs)
}
