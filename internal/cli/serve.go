package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/model"
)

// planeFlags are shared by `serve`, which takes them inside the control plane's container, and `up`, which hands them on.
type planeFlags struct {
	name, dataDir, listen, publicURL, region, addressRange string
	coordPort                                              int
	provider, keystoneURL, keystoneCA                      string
	noAuth                                                 bool
}

func (f *planeFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.name, "name", env("NAME", controlplane.DefaultName), "name of the deployment; several can live on one host")
	fs.StringVar(&f.dataDir, "data-dir", env("DATA_DIR", controlplane.DefaultDataDir), "where metadata, keys and the administrator's password are kept")
	fs.StringVar(&f.listen, "listen", env("LISTEN", controlplane.DefaultListen), "address of the API")
	fs.StringVar(&f.publicURL, "public-url", env("PUBLIC_URL", ""), "how clients reach the API, when that is not as they ask for it")
	fs.StringVar(&f.region, "region", env("REGION", controlplane.DefaultRegion), "the region's name in the catalogue")
	fs.StringVar(&f.addressRange, "address-range", env("ADDRESS_RANGE", ""), "where the databases' /24 is taken from (default 10.88.0.0/16)")
	fs.IntVar(&f.coordPort, "coord-port", controlplane.DefaultCoordPort, "port of the embedded coordination, on the databases' network")
	fs.StringVar(&f.keystoneURL, "keystone-url", env("KEYSTONE_URL", ""), "have this Keystone in place of Huker's own accounts (https://keystone:5000/v3)")
	fs.StringVar(&f.keystoneCA, "keystone-ca", env("KEYSTONE_CA", ""), "file with the certificate authority of that Keystone")
	fs.StringVar(&f.provider, "identity-provider", env("IDENTITY_PROVIDER", ""),
		"whose accounts count: builtin, keystone or both (default: keystone where --keystone-url is given, else builtin)")
	fs.BoolVar(&f.noAuth, "no-auth", false, "trust the project in the URL without any token (only while the API listens on loopback)")
}

// args gives the flags as `huker serve` takes them, in an order that does not change: a container with other arguments is replaced.
func (f *planeFlags) args() []string {
	args := []string{
		"--name", f.name, "--data-dir", f.dataDir, "--listen", f.listen, "--region", f.region, "--coord-port", fmt.Sprint(f.coordPort),
	}
	for _, opt := range [][2]string{
		{"--public-url", f.publicURL}, {"--address-range", f.addressRange}, {"--identity-provider", f.provider},
		{"--keystone-url", f.keystoneURL}, {"--keystone-ca", f.keystoneCA},
	} {
		if opt[1] != "" {
			args = append(args, opt[0]+"="+opt[1])
		}
	}
	if f.noAuth {
		args = append(args, "--no-auth")
	}
	return args
}

func (f *planeFlags) config(version string) controlplane.Config {
	c := controlplane.Config{
		Name: f.name, DataDir: f.dataDir, Listen: f.listen, PublicURL: f.publicURL, Region: f.region, Range: f.addressRange,
		CoordPort: f.coordPort, NoAuth: f.noAuth, Version: version, StaticToken: os.Getenv("HUKER_ADMIN_TOKEN"),
		Provider: identity.Provider(f.provider),
	}
	if f.keystoneURL != "" || f.keystoneCA != "" {
		c.Keystone = &identity.KeystoneConfig{URL: f.keystoneURL, CAFile: f.keystoneCA}
	}
	return c
}

// env gives a flag's default from the environment: HUKER_DATA_DIR for --data-dir.
func env(name, otherwise string) string {
	if v := os.Getenv("HUKER_" + name); v != "" {
		return v
	}
	return otherwise
}

func newServeCommand(version string) *cobra.Command {
	var f planeFlags
	var binDir, faultPoint, logLevel string
	var extra []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the control plane in the foreground (what `huker up` runs in a container)",
		Long: `Run all of Huker's control plane in this process, on embedded engines, until it is told to stop.
Databases are containers of their own: they go on when it stops.

Every flag can be given in the environment: HUKER_DATA_DIR for --data-dir.`,
		Example: `  huker serve
  huker serve --listen 0.0.0.0:8779 --public-url https://db.example.org`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			c := f.config(version)
			var level slog.Level
			if err := level.UnmarshalText([]byte(logLevel)); err != nil {
				return fmt.Errorf("--log-level: %w", err)
			}
			c.Log = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
			if c.BinDir = binDir; binDir == "" {
				var err error
				if c.BinDir, err = controlplane.GuestBinaries(); err != nil {
					return err
				}
			}
			given, err := model.ParseVersions(extra)
			if err != nil {
				return err
			}
			c.Versions = func(ctx context.Context) ([]model.DatastoreVersion, error) {
				built, err := controlplane.BuiltVersions(ctx, "")
				return append(built, given...), err
			}
			if faultPoint != "" {
				ctx = fault.With(ctx, fault.Parse(faultPoint))
			}
			return controlplane.Run(ctx, c)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&binDir, "bin-dir", env("BIN_DIR", ""), "where huker-supervisor and huker-guestagent are (default: beside this program)")
	cmd.Flags().StringSliceVar(&extra, "image", nil, "offer a datastore version from an image: mysql:9.7.4=REF")
	cmd.Flags().StringVar(&logLevel, "log-level", env("LOG_LEVEL", "info"), "debug, info, warn or error")
	cmd.Flags().StringVar(&faultPoint, "fault", os.Getenv("HUKER_FAULT"), "die at this point (for tests)")
	_ = cmd.Flags().MarkHidden("fault")
	return cmd
}
