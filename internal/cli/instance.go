package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

func (a *app) newInstanceCommand() *cobra.Command {
	cmd := group("instance", "Create, look at and change database instances",
		a.newInstanceCreate(), a.newInstanceList(), a.newInstanceShow(), a.newInstanceDelete(), a.newInstanceConnect(), a.newInstanceRestart(),
		a.newInstanceResize(), a.newInstancePromote(), a.newInstanceDetach(), a.newInstanceEject(), a.newInstanceAccess(), a.newInstanceLogs(), a.newInstanceEvents())
	cmd.Aliases = []string{"instances"}
	return cmd
}

func (a *app) newInstanceList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the instances of the project, newest first",
		Example: "  huker instance list\n  huker instance list -o json | jq -r '.[].name'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			all, err := c.Instances(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(cmd, all)
			}
			return a.printInstances(cmd, c, all)
		},
	}
}

// printInstances lists them; what their roles are, and in which clusters, only where there is something to say.
func (a *app) printInstances(cmd *cobra.Command, c *client.Client, all []client.Instance) error {
	flavors := map[string]string{}
	list, err := c.Flavors(cmd.Context())
	if err != nil {
		return err
	}
	for _, f := range list {
		flavors[f.ID] = f.Name
	}
	header := []string{"id", "name", "status", "datastore", "flavor", "volume", "address"}
	grouped := slices.ContainsFunc(all, func(i client.Instance) bool { return i.Role != "" || i.Cluster != "" })
	clusters := map[string]string{}
	if grouped {
		header = append(header, "role", "cluster")
		known, err := c.Clusters(cmd.Context())
		if err != nil {
			return err
		}
		for _, k := range known {
			clusters[k.ID] = k.Name
		}
	}
	var rows [][]any
	for _, i := range all {
		row := []any{
			i.ID, i.Name, state(i), datastore(i), first(flavors[i.Flavor.ID], i.Flavor.ID), fmt.Sprintf("%d GB", i.Volume.Size), first(i.Address(), "-"),
		}
		if grouped {
			row = append(row, first(i.Role, "-"), first(clusters[i.Cluster], i.Cluster, "-"))
		}
		rows = append(rows, row)
	}
	return a.printList(cmd, all, header, rows)
}

// state is the status, and what the database says where that is not what one expects of it.
func state(i client.Instance) string {
	if i.OperatingStatus == "" || i.OperatingStatus == "HEALTHY" || i.OperatingStatus == i.Status {
		return i.Status
	}
	return i.Status + " (" + i.OperatingStatus + ")"
}

func datastore(i client.Instance) string {
	return strings.TrimSpace(i.Datastore.Type + " " + i.Datastore.Version)
}

type showFlags struct {
	dsn, user, database, ca string
	secret                  secretFlags
}

func (a *app) newInstanceShow() *cobra.Command {
	var f showFlags
	cmd := &cobra.Command{
		Use:   "show INSTANCE",
		Short: "Show an instance, or a connection string for it",
		Long: `Show an instance, or with --dsn a connection string for it: uri (MySQL Shell and others), go (go-sql-driver), jdbc
(Connector/J), or mysql (a command line). The password is PASSWORD in it, unless it is given.

All of them ask for TLS. With --ca the certificate of the instance's own authority is written to a file, and the string has the
client make sure by it that it speaks to this database.`,
		Example: `  huker instance show shop
  huker instance show shop --dsn uri --user app --database shop
  huker instance show shop --dsn go --user app --password-file app.pw --ca shop-ca.pem`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			c, i, err := a.connected(cmd, args[0])
			if err != nil {
				return err
			}
			if done, err := a.showPlace(cmd, c, placeOf(i), f); done || err != nil {
				return err
			}
			return a.printInstance(cmd, c, i)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *showFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.dsn, "dsn", "", "print a connection string: uri, go, jdbc or mysql")
	fs.StringVar(&f.user, "user", "", "user in the connection string (default: the only one that there is)")
	fs.StringVar(&f.database, "database", "", "database in the connection string")
	fs.StringVar(&f.ca, "ca", "", "write the certificate of the authority to this file")
	f.secret.register(cmd)
	_ = cmd.RegisterFlagCompletionFunc("dsn", cobra.FixedCompletions([]string{"uri", "go", "jdbc", "mysql"}, cobra.ShellCompDirectiveNoFileComp))
}

// check is asked before anything is asked of the service.
func (f *showFlags) check() error {
	if f.dsn == "" && (f.user != "" || f.database != "" || f.secret.given()) {
		return usagef("--user, --database and passwords are for --dsn")
	}
	if _, known := dsnForms()[f.dsn]; f.dsn != "" && !known {
		return usagef("--dsn %q: want uri, go, jdbc or mysql", f.dsn)
	}
	return nil
}

// showPlace writes the authority's certificate and prints a connection string, as far as they are asked for; done: that is all that there is to show.
func (a *app) showPlace(cmd *cobra.Command, c *client.Client, of place, f showFlags) (done bool, err error) {
	if f.ca != "" {
		if f.ca, err = filepath.Abs(f.ca); err != nil { // connection strings are used elsewhere
			return false, err
		}
		if err := writeCA(cmd, c, of, f.ca); err != nil {
			return false, err
		}
	}
	if f.dsn == "" {
		return false, nil
	}
	return true, a.showDSN(cmd, c, of, f)
}

// printInstance shows one with all there is to say.
func (a *app) printInstance(cmd *cobra.Command, c *client.Client, i client.Instance, more ...pair) error {
	if a.output == "json" {
		return a.printJSON(cmd, i)
	}
	flavor := i.Flavor.ID
	if f, err := a.flavor(cmd.Context(), c, flavor); err == nil {
		flavor = fmt.Sprintf("%s (%s)", f.Name, size(f))
	}
	volume := fmt.Sprintf("%d GB", i.Volume.Size)
	if i.Volume.Used > 0 {
		volume += fmt.Sprintf(", %.2f GB used", i.Volume.Used)
	}
	pairs := []pair{
		{"id", i.ID}, {"name", i.Name}, {"status", state(i)}, {"datastore", datastore(i)}, {"flavor", flavor}, {"volume", volume},
		{"address", i.Address()}, {"port", portOf(i)}, {"allowed from", allowed(i.Access)}, {"project", i.Project}, {"created", stamp(i.Created)}, {"updated", stamp(i.Updated)},
	}
	pairs = append(pairs, relatives(i)...)
	if i.Fault != nil {
		pairs = append(pairs, pair{"fault", strings.TrimSpace(i.Fault.Message + "\n" + i.Fault.Details)}, pair{"fault since", stamp(i.Fault.Created)})
	}
	return a.printOne(cmd, i, append(pairs, more...))
}

// relatives says whose member or replica an instance is.
func relatives(i client.Instance) []pair {
	pairs := []pair{{"cluster", i.Cluster}, {"role", i.Role}}
	if i.ReplicaOf != nil {
		pairs = append(pairs, pair{"replica of", i.ReplicaOf.ID})
	}
	var replicas []string
	for _, r := range i.Replicas {
		replicas = append(replicas, r.ID)
	}
	return append(pairs, pair{"replicas", strings.Join(replicas, "\n")})
}

func portOf(i client.Instance) any {
	if i.Address() == "" {
		return nil
	}
	return mysqlPort
}

func (a *app) newInstanceDelete() *cobra.Command {
	var w waitFlags
	var yes, force bool
	cmd := &cobra.Command{
		Use:               "delete INSTANCE...",
		Short:             "Delete instances with all their data",
		Example:           "  huker instance delete shop\n  huker instance delete shop test --yes --no-wait",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeSeveralInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			var doomed []client.Instance
			for _, ref := range args { // all are found before the first goes
				i, err := a.instance(cmd.Context(), c, ref)
				if err != nil {
					return err
				}
				doomed = append(doomed, i)
			}
			for _, i := range doomed {
				if err := a.confirm(cmd, yes, fmt.Sprintf("Delete instance %s (%s) with all its data?", printable(i.Name), i.ID)); err != nil {
					return err
				}
			}
			for _, i := range doomed {
				remove := c.DeleteInstance
				if force {
					remove = c.ForceDeleteInstance
				}
				if err := remove(cmd.Context(), i.ID); err != nil {
					return fmt.Errorf("delete %s: %w", i.Name, err)
				}
			}
			if !w.on() {
				return nil
			}
			for _, i := range doomed {
				if err := a.gone(cmd, c, i, w); err != nil {
					return err
				}
				say(cmd, "Instance %s is deleted.", printable(i.Name))
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&force, "force", false, "give up what is under way first")
	w.register(cmd)
	return cmd
}

func (a *app) newInstanceRestart() *cobra.Command {
	var w waitFlags
	cmd := &cobra.Command{
		Use:               "restart INSTANCE",
		Short:             "Restart the database server of an instance",
		Example:           "  huker instance restart shop",
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
			if err := c.Restart(cmd.Context(), i.ID); err != nil {
				return err
			}
			return a.finish(cmd, c, i, w)
		},
	}
	w.register(cmd)
	return cmd
}

// finish waits if it is wanted, and shows how the instance is then.
func (a *app) finish(cmd *cobra.Command, c *client.Client, i client.Instance, w waitFlags) error {
	var err error
	if w.on() {
		i, err = a.ready(cmd, c, i, w)
	} else {
		i, err = c.Instance(cmd.Context(), i.ID)
	}
	if err != nil {
		return err
	}
	return a.printInstance(cmd, c, i)
}

func (a *app) newInstanceResize() *cobra.Command {
	var w waitFlags
	var flavor string
	var volume int
	cmd := &cobra.Command{
		Use:               "resize INSTANCE",
		Short:             "Give an instance another flavor, or a larger volume",
		Example:           "  huker instance resize shop --flavor db.medium\n  huker instance resize shop --volume 50",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (flavor == "") == (volume == 0) {
				return usagef("give one of --flavor and --volume")
			}
			if err := w.check(); err != nil {
				return err
			}
			c, i, err := a.connected(cmd, args[0])
			if err != nil {
				return err
			}
			if volume != 0 {
				err = c.ResizeVolume(cmd.Context(), i.ID, volume)
			} else {
				var f client.Flavor
				if f, err = a.flavor(cmd.Context(), c, flavor); err == nil {
					err = c.ResizeFlavor(cmd.Context(), i.ID, f.ID)
				}
			}
			if err != nil {
				return err
			}
			return a.finish(cmd, c, i, w)
		},
	}
	cmd.Flags().StringVar(&flavor, "flavor", "", "the new flavor, by name or id")
	cmd.Flags().IntVar(&volume, "volume", 0, "the new size of the volume in GB")
	_ = cmd.RegisterFlagCompletionFunc("flavor", a.completeFlavors)
	w.register(cmd)
	return cmd
}

func (a *app) newInstanceEvents() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:               "events INSTANCE",
		Short:             "Show the history of an instance, oldest first",
		Example:           "  huker instance events shop --limit 20",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("--limit must not be negative")
			}
			c, i, err := a.connected(cmd, args[0])
			if err != nil {
				return err
			}
			events, err := c.Events(cmd.Context(), i.ID, limit)
			if err != nil {
				return err
			}
			var rows [][]any
			for _, e := range events {
				rows = append(rows, []any{stamp(e.Time), e.Kind, e.Message})
			}
			return a.printList(cmd, events, []string{"time", "event", "what happened"}, rows)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "only so many of the newest")
	return cmd
}
