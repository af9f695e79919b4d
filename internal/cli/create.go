package cli

import (
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

type createFlags struct {
	flavor, datastore, version string
	volume                     int
	databases                  []string
	user, host                 string
	replicaOf                  string
	replicas                   int
	access                     accessFlags
	secret                     secretFlags
	wait                       waitFlags
}

func (a *app) newInstanceCreate() *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a database instance",
		Long: `Create a database instance, and wait until it serves.

With --user it gets a user with all rights on the databases of --database. A password is made for the user and shown once, unless it is
given with --password-stdin, --password-file or --ask-password.

With --replica-of it is a replica of another instance: it holds what that holds, can be read from, and can take its place. Its size is the
other one's.

It can be reached from this host, and from private addresses, unless --allow or --public say otherwise.`,
		Example: `  huker instance create shop --database shop --user app
  huker instance create shop --flavor db.medium --volume 20 --allow 10.1.0.0/16
  huker instance create shop-copy --replica-of shop
  pass show shop | huker instance create shop --database shop --user app --password-stdin`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.replicaOf != "" || cmd.Flags().Changed("replica-count") {
				return a.createReplicas(cmd, args[0], f)
			}
			return a.createInstance(cmd, args[0], f)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.flavor, "flavor", "", "size, by name or id (default: the smallest; \"huker flavor list\" shows them)")
	fs.IntVar(&f.volume, "volume", 5, "size of the volume in GB")
	fs.StringVar(&f.datastore, "datastore", "", "product (default: mysql)")
	fs.StringVar(&f.version, "version", "", "version of the product (default: the newest)")
	fs.StringSliceVar(&f.databases, "database", nil, "database to create; can be repeated")
	fs.StringVar(&f.user, "user", "", "user to create")
	fs.StringVar(&f.host, "host", "", "where the user may come from (default: everywhere)")
	fs.StringVar(&f.replicaOf, "replica-of", "", "make it a replica of this instance")
	fs.IntVar(&f.replicas, "replica-count", 1, "make so many replicas, 1 to 3, NAME-1 and so on")
	f.access.register(cmd)
	f.secret.register(cmd)
	f.wait.register(cmd)
	_ = cmd.RegisterFlagCompletionFunc("replica-of", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return a.completeInstances(cmd, nil, typed)
	})
	_ = cmd.RegisterFlagCompletionFunc("flavor", a.completeFlavors)
	return cmd
}

// created is a new instance for programs, with the password that was made.
type created struct {
	client.Instance
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
}

func (a *app) createInstance(cmd *cobra.Command, name string, f createFlags) error {
	if f.user == "" && (f.secret.given() || f.host != "") {
		return usagef("passwords and --host are for --user")
	}
	if err := f.wait.check(); err != nil {
		return err
	}
	c, err := a.client(cmd)
	if err != nil {
		return err
	}
	flavor, err := a.flavor(cmd.Context(), c, f.flavor)
	if err != nil {
		return err
	}
	in := client.NewInstance{
		Name: name, Flavor: flavor.ID, Volume: client.Volume{Size: f.volume},
		Access: f.access.access(),
	}
	in.Datastore = datastoreWish(f.datastore, f.version)
	for _, d := range f.databases {
		in.Databases = append(in.Databases, client.Database{Name: d})
	}
	var shown string
	if f.user != "" {
		password, err := a.readSecret(cmd, f.secret, "Password for user "+f.user+": ")
		if err != nil {
			return err
		}
		if password == "" {
			password = generate()
			shown = password
		}
		in.Users = []client.NewUser{{Name: f.user, Host: f.host, Password: password, Databases: in.Databases}}
	}
	i, err := c.CreateInstance(cmd.Context(), in)
	if err != nil {
		return err
	}
	if shown != "" { // before the wait: whatever happens in it, the password is known
		say(cmd, "Password of user %s, shown this once: %s", f.user, shown)
	}
	if f.wait.on() {
		if i, err = a.ready(cmd, c, i, f.wait); err != nil {
			return err
		}
	}
	if a.output == "json" {
		return a.printJSON(cmd, created{Instance: i, User: f.user, Password: shown})
	}
	return a.printInstance(cmd, c, i, pair{"connect with", connectHint(i, f)})
}

// datastoreWish names what is given of a product and its version.
func datastoreWish(product, version string) map[string]string {
	wish := map[string]string{}
	if product != "" {
		wish["type"] = product
	}
	if version != "" {
		wish["version"] = version
	}
	return wish
}

// connectHint is a command that connects, with what is on this machine: its mysql client if it has one.
func connectHint(i client.Instance, f createFlags) any {
	if i.Address() == "" || f.user == "" {
		return nil
	}
	return hint(placeOf(i), f.user, f.databases)
}

func hint(of place, user string, databases []string) string {
	words := []string{calledAs(os.Args[0]), of.what, "connect", of.name, "--user", user}
	if len(databases) > 0 {
		words = append(words, "--database", databases[0])
	}
	if _, err := exec.LookPath("mysql"); err == nil {
		words = append([]string{"mysql", "-h", of.address, "-u", user, "-p"}, databases[:min(1, len(databases))]...)
	}
	for k, w := range words {
		words[k] = shellQuote(w)
	}
	return strings.Join(words, " ")
}
