package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

type clusterCreateFlags struct {
	members, volume    int
	flavor             string
	datastore, version string
	promise            promiseFlags
	locality           string
	databases          []string
	user, host         string
	secret             secretFlags
	wait               waitFlags
}

// promiseFlags are what a cluster promises.
type promiseFlags struct {
	policy string
	acks   int
	lag    time.Duration
}

func (f *promiseFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.policy, "policy", "", "strict: a write is acknowledged when a replica holds it, whatever happens; available: it goes on when no replica is left; "+
		"fast: the same, and replicas acknowledge before their disks have it")
	fs.IntVar(&f.acks, "min-acks", 0, "replicas that hold a write before it is acknowledged (0: half of them, rounded up)")
	fs.DurationVar(&f.lag, "max-lag", 0, "how far a replica may be behind and still be read from (default 10s)")
	_ = cmd.RegisterFlagCompletionFunc("policy", cobra.FixedCompletions([]string{"strict", "available", "fast"}, cobra.ShellCompDirectiveNoFileComp))
}

// check gives the acknowledgements, nil: not given; and the lag in seconds, 0: not given.
func (f *promiseFlags) check(cmd *cobra.Command) (acks *int, lag int, err error) {
	switch f.policy {
	case "", "strict", "available", "fast":
	default:
		return nil, 0, usagef("--policy %q: want strict, available or fast", f.policy)
	}
	if cmd.Flags().Changed("min-acks") {
		if f.acks < 0 {
			return nil, 0, usagef("--min-acks must not be negative")
		}
		acks = &f.acks
	}
	if cmd.Flags().Changed("max-lag") {
		if f.lag < time.Second || f.lag%time.Second != 0 {
			return nil, 0, usagef("--max-lag %s: want whole seconds, at least 1s", f.lag)
		}
		lag = int(f.lag / time.Second)
	}
	return acks, lag, nil
}

func (a *app) newClusterCreate() *cobra.Command {
	var f clusterCreateFlags
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a cluster",
		Long: `Create a cluster of a primary and replicas, and wait until it serves. It has one address for writing, where the primary answers, whoever
it is, and one for reading, where the replicas do. Its members are on different hosts as far as there are enough.

With --user it gets a user with all rights on the databases of --database. A password is made for the user and shown once, unless it is
given with --password-stdin, --password-file or --ask-password.`,
		Example: `  huker cluster create shop --members 3 --database shop --user app
  huker cluster create shop --members 5 --flavor db.medium --volume 50 --policy strict --min-acks 2 --locality anti-affinity
  huker cluster create test --members 2 --policy available --no-wait`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.createCluster(cmd, args[0], f) },
	}
	fs := cmd.Flags()
	fs.IntVar(&f.members, "members", 3, "how many: a primary and replicas, 1 to 9")
	fs.StringVar(&f.flavor, "flavor", "", "size of each, by name or id (default: the smallest; \"huker flavor list\" shows them)")
	fs.IntVar(&f.volume, "volume", 5, "size of each one's volume in GB")
	fs.StringVar(&f.datastore, "datastore", "", "product (default: mysql)")
	fs.StringVar(&f.version, "version", "", "version of the product (default: the newest)")
	f.promise.register(cmd)
	fs.StringVar(&f.locality, "locality", "", "anti-affinity: different hosts or none; soft-anti-affinity (the default): as far as there are enough; affinity; soft-affinity")
	fs.StringSliceVar(&f.databases, "database", nil, "database to create; can be repeated")
	fs.StringVar(&f.user, "user", "", "user to create")
	fs.StringVar(&f.host, "host", "", "where the user may come from (default: everywhere)")
	f.secret.register(cmd)
	f.wait.register(cmd)
	_ = cmd.RegisterFlagCompletionFunc("flavor", a.completeFlavors)
	_ = cmd.RegisterFlagCompletionFunc("locality", cobra.FixedCompletions([]string{"anti-affinity", "soft-anti-affinity", "affinity", "soft-affinity"},
		cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// createdCluster is a new cluster for programs, with the password that was made.
type createdCluster struct {
	client.Cluster
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
}

// check is asked before anything is asked of the service; it gives what promiseFlags' does.
func (f *clusterCreateFlags) check(cmd *cobra.Command) (acks *int, lag int, err error) {
	if f.user == "" && (f.secret.given() || f.host != "") {
		return nil, 0, usagef("passwords and --host are for --user")
	}
	if f.members < 1 || f.members > 9 {
		return nil, 0, usagef("--members %d: want 1 to 9", f.members)
	}
	if err := f.wait.check(); err != nil {
		return nil, 0, err
	}
	return f.promise.check(cmd)
}

func (a *app) createCluster(cmd *cobra.Command, name string, f clusterCreateFlags) error {
	acks, lag, err := f.check(cmd)
	if err != nil {
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
	in := client.NewCluster{
		Name: name, Datastore: datastoreWish(f.datastore, f.version), Locality: f.locality,
		Properties: client.ClusterProperties{Policy: f.promise.policy, MinAcks: acks, MaxLag: lag},
	}
	for range f.members {
		in.Instances = append(in.Instances, client.NewMember{Flavor: flavor.ID, Volume: &client.Volume{Size: f.volume}})
	}
	for _, d := range f.databases {
		in.Properties.Databases = append(in.Properties.Databases, client.Database{Name: d})
	}
	var made string
	if f.user != "" {
		var password string
		if password, made, err = a.password(cmd, f.secret, "Password for user "+f.user+": "); err != nil {
			return err
		}
		in.Properties.Users = []client.NewUser{{Name: f.user, Host: f.host, Password: password, Databases: in.Properties.Databases}}
	}
	k, err := c.CreateCluster(cmd.Context(), in)
	if err != nil {
		return err
	}
	if made != "" { // before the wait: whatever happens in it, the password is known
		say(cmd, "Password of user %s, shown this once: %s", f.user, made)
	}
	if f.wait.on() {
		if k, err = a.clusterReady(cmd, c, k, f.wait); err != nil {
			return err
		}
	}
	if a.output == "json" {
		return a.printJSON(cmd, createdCluster{Cluster: k, User: f.user, Password: made})
	}
	var more []pair
	if to := clusterPlace(k, false); to.address != "" && f.user != "" {
		more = append(more, pair{"connect with", hint(to, f.user, f.databases)})
	}
	return a.printCluster(cmd, c, k, false, more...)
}
