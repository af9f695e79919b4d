package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/huker/huker/images"
	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/deploy"
	"github.com/huker/huker/runtime/docker"
)

// upFlags are those of `huker up` besides the control plane's.
type upFlags struct {
	plane   planeFlags
	project string
	noFirst bool
	quiet   bool
}

func (a *app) newUpCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start Huker on this host, with a first database",
		Long: `Make the images that are missing, start the control plane as a container that comes back after a reboot, and make a first database.
Doing it again changes nothing. Databases and their data outlive it: see huker down.

With --keystone-url people sign in there instead of at Huker; root on this machine needs no account of it for the huker command, and
owns the first database.`,
		Example: `  huker up
  huker up --no-database                       # the control plane only
  huker up --listen 0.0.0.0:8779               # the API for other machines too
  huker up --keystone-url https://keystone:5000/v3 --keystone-ca /etc/ssl/keystone.pem`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return up(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), a.version, f)
		},
	}
	f.plane.register(cmd)
	cmd.Flags().StringVar(&f.project, "project-dir", "", "folder with Huker's Dockerfile and bin/ (default: found from this program's own place)")
	cmd.Flags().BoolVar(&f.noFirst, "no-database", false, "do not make the first database")
	cmd.Flags().BoolVar(&f.quiet, "quiet", false, "say only the result")
	return cmd
}

func up(ctx context.Context, out, errOut io.Writer, version string, f upFlags) error {
	c := f.plane.config(version)
	if err := c.Fill(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("huker up changes iptables and root-owned files: run it as root")
	}
	began := time.Now()
	say := func(line string) {
		if !f.quiet {
			fmt.Fprintf(errOut, "%6.1fs  %s\n", time.Since(began).Seconds(), line)
		}
	}
	if err := f.plane.bringCA(); err != nil {
		return err
	}
	image, err := upImages(ctx, version, f.project, say)
	if err != nil {
		return err
	}
	engine, err := docker.Open(ctx, docker.Config{Owner: c.Name, Range: c.Range})
	if err != nil {
		return fmt.Errorf("%w (huker doctor tells more)", err)
	}
	defer func() { _ = engine.Close() }()
	err = deploy.Up(ctx, engine, deploy.Plane{
		Name: c.Name, DataDir: c.DataDir, Socket: dockerSocket(), Image: image, Args: f.plane.args(), Health: c.Endpoint() + "/healthz",
	}, say)
	if err != nil {
		return err
	}
	say("the control plane is healthy")
	if err := f.plane.forgetCAs(); err != nil {
		return err
	}
	if f.noFirst {
		fmt.Fprintf(out, "Huker is up. API: %s   (huker env prints settings for other clients)\n", c.Endpoint())
	} else if err := firstDatabase(ctx, out, c, say); err != nil {
		return err
	}
	printSignIn(out, c)
	return nil
}

// printSignIn tells what is left to do where another Keystone has all accounts: its catalogue, which clients find the API by, is not Huker's to write.
func printSignIn(out io.Writer, c controlplane.Config) {
	if c.Provider.Builtin() {
		return
	}
	fmt.Fprintf(out, `
People sign in at %s. Its catalogue must name Huker, once, if it does not yet:

  openstack service create --name huker database
  openstack endpoint create --region %s database public '%s/v1.0/%%(project_id)s'
`, c.Keystone.AuthURL(), c.Region, c.Endpoint())
}

// upImages has the databases' images and the service's be there.
func upImages(ctx context.Context, version, project string, say func(string)) (service string, err error) {
	b, done, err := imageBuilder("")
	if err != nil {
		return "", err
	}
	defer done()
	catalogue, err := images.Load()
	if err != nil {
		return "", err
	}
	for _, e := range catalogue.Built() {
		built, err := b.Build(ctx, e, say)
		if err != nil {
			return "", err
		}
		say(fmt.Sprintf("image %s", built.Ref))
	}
	if project == "" {
		if project, err = projectDir(); err != nil {
			return "", err
		}
	}
	built, err := b.BuildService(ctx, project, version, say)
	if err != nil {
		return "", err
	}
	say(fmt.Sprintf("image %s", built.Ref))
	return built.Ref, nil
}

// projectDir is the folder above the one that this program is in.
func projectDir() (string, error) {
	bin, err := controlplane.GuestBinaries()
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(bin)
	if _, err := os.Stat(filepath.Join(dir, "Dockerfile")); err != nil {
		return "", fmt.Errorf("no Dockerfile in %s: say where Huker's folder is with --project-dir", dir)
	}
	return dir, nil
}

// dockerSocket is where this host's engine listens.
func dockerSocket() string {
	const scheme = "unix://"
	if h := os.Getenv("DOCKER_HOST"); len(h) > len(scheme) && h[:len(scheme)] == scheme {
		return h[len(scheme):]
	}
	return "/var/run/docker.sock"
}

func (a *app) newDownCommand() *cobra.Command {
	var name, dataDir string
	var purge, yes bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop Huker and its databases on this host",
		Long: `Stop the control plane, shut all databases down cleanly, and remove containers, networks and firewall rules.
Volumes and metadata stay: huker up brings every database back with its data, at its address. --purge removes them too.`,
		Example: `  huker down
  huker down --purge --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if purge {
				if err := a.confirm(cmd, yes, "All data of deployment "+name+" will be gone for good. Go on?"); err != nil {
					return err
				}
			}
			engine, err := docker.Open(ctx, docker.Config{Owner: name})
			if err != nil {
				return err
			}
			defer func() { _ = engine.Close() }()
			say := func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
			if err := deploy.Down(ctx, engine, name, dataDir, purge, say); err != nil {
				return err
			}
			if !purge {
				fmt.Fprintln(cmd.OutOrStdout(), "Huker is down. Data and metadata are kept; huker up brings everything back.")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", env("NAME", controlplane.DefaultName), "name of the deployment")
	cmd.Flags().StringVar(&dataDir, "data-dir", env("DATA_DIR", controlplane.DefaultDataDir), "the deployment's data directory")
	cmd.Flags().BoolVar(&purge, "purge", false, "remove volumes and metadata too: all data is gone")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
