package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

// accessFlags say who may reach an instance. Without any: private addresses only.
type accessFlags struct {
	allow  []string
	public bool
}

func (f *accessFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&f.allow, "allow", nil, "let this network reach it, as 203.0.113.0/24, and no other; can be repeated")
	fs.BoolVar(&f.public, "public", false, "let everybody reach it")
	cmd.MarkFlagsMutuallyExclusive("allow", "public")
}

// access is public where networks are named, as these need not be private.
func (f *accessFlags) access() *client.Access {
	return &client.Access{IsPublic: f.public || len(f.allow) > 0, AllowedCIDRs: append([]string{}, f.allow...)}
}

// allowed says who may reach an instance, as the firewall has it.
func allowed(a client.Access) string {
	switch networks := strings.Join(a.AllowedCIDRs, ", "); {
	case networks == "" && a.IsPublic:
		return "everybody"
	case networks == "":
		return "private addresses"
	case a.IsPublic:
		return networks
	default:
		return networks + ", where these are private"
	}
}

func (a *app) newInstanceAccess() *cobra.Command {
	var f accessFlags
	var private bool
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "access INSTANCE",
		Short: "Say who may reach an instance",
		Long: `Say who may reach an instance: private addresses (10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16), the networks that are named, or
everybody. What was said before is forgotten. Connections from this host are always let in.`,
		Example: `  huker instance access shop --allow 203.0.113.0/24 --allow 10.0.0.0/8
  huker instance access shop --private`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			c, i, err := a.connected(cmd, args[0])
			if err != nil {
				return err
			}
			if err := c.SetAccess(cmd.Context(), i.ID, *f.access()); err != nil {
				return err
			}
			return a.finish(cmd, c, i, w)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&private, "private", false, "let private addresses reach it, and no others")
	cmd.MarkFlagsMutuallyExclusive("private", "public")
	cmd.MarkFlagsMutuallyExclusive("private", "allow")
	cmd.MarkFlagsOneRequired("private", "public", "allow")
	w.register(cmd)
	return cmd
}
