package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

// completer offers what an argument may be.
type completer = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// offer asks the service for what fits, and offers nothing where it cannot be asked.
func (a *app) offer(cmd *cobra.Command, ask func(ctx context.Context, c *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	c, err := a.client(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	out, err := ask(cmd.Context(), c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeInstances offers names for the first argument.
func (a *app) completeInstances(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeSeveralInstances(cmd, args, typed)
}

// completeSeveralInstances offers names that are not there yet.
func (a *app) completeSeveralInstances(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		all, err := c.Instances(ctx)
		var out []string
		for _, i := range all {
			if !slices.Contains(args, i.Name) {
				out = append(out, i.Name+"\t"+i.Status)
			}
		}
		return out, err
	})
}

// completeClusters offers names for the first argument.
func (a *app) completeClusters(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeSeveralClusters(cmd, args, "")
}

// completeSeveralClusters offers names that are not there yet.
func (a *app) completeSeveralClusters(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		all, err := c.Clusters(ctx)
		var out []string
		for _, k := range all {
			if !slices.Contains(args, k.Name) {
				out = append(out, k.Name+"\t"+k.Status)
			}
		}
		return out, err
	})
}

// completeMembers offers clusters for the first argument, and their replicas for all others.
func (a *app) completeMembers(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeClusters(cmd, args, typed)
	}
	return a.offer(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		k, err := a.cluster(ctx, c, args[0])
		var out []string
		for _, m := range k.Instances {
			if m.ID != k.Primary && !slices.Contains(args[1:], m.Name) {
				out = append(out, m.Name+"\t"+m.Status)
			}
		}
		return out, err
	})
}

// completeSuccessors offers the replicas of the first argument.
func (a *app) completeSuccessors(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeMembers(cmd, args[:1], typed)
}

// within offers instances for the first argument, and for the k-th after it what the k-th of then gives of the instance; the last of then
// for all that follow it, but nothing twice.
func (a *app) within(then ...func(ctx context.Context, c *client.Client, instance string) ([]string, error)) completer {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return a.completeInstances(cmd, args, typed)
		}
		return a.offer(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
			i, err := a.instance(ctx, c, args[0])
			if err != nil {
				return nil, err
			}
			out, err := then[min(len(args), len(then))-1](ctx, c, i.ID)
			return slices.DeleteFunc(out, func(s string) bool { return slices.Contains(args[1:], s) }), err
		})
	}
}

func userNames(ctx context.Context, c *client.Client, instance string) ([]string, error) {
	users, err := c.Users(ctx, instance)
	var out []string
	for _, u := range users {
		name := u.Name
		if slices.ContainsFunc(users, func(o client.User) bool { return o.Name == u.Name && o.Host != u.Host }) {
			name = u.String()
		}
		out = append(out, name)
	}
	return out, err
}

func schemaNames(ctx context.Context, c *client.Client, instance string) ([]string, error) {
	all, err := c.Databases(ctx, instance)
	var out []string
	for _, d := range all {
		out = append(out, d.Name)
	}
	return out, err
}

func logNames(ctx context.Context, c *client.Client, instance string) ([]string, error) {
	all, err := c.Logs(ctx, instance)
	var out []string
	for _, l := range all {
		out = append(out, l.Name)
	}
	return out, err
}

func nothing(context.Context, *client.Client, string) ([]string, error) { return nil, nil }

func (a *app) completeFlavors(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		all, err := c.Flavors(ctx)
		var out []string
		for _, f := range all {
			out = append(out, f.Name+"\t"+size(f))
		}
		return out, err
	})
}
