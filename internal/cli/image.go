package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"github.com/huker/huker/images"
)

const aptDir = "/etc/apt"

// NewImageCommand gives `huker image`: making, checking and listing the images that databases are made from.
func NewImageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Make, check and list the images of databases",
		Long: "Make, check and list the images that databases are made from, on this machine's Docker engine.\n" +
			"What can be made is fixed in images/versions.yaml.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageBuildCommand(), newImageVerifyCommand(), newImageListCommand(), newImageBaseCommand())
	return cmd
}

type imageBuildFlags struct {
	mirror, context string
	refresh, all    bool
	service         bool
	quiet, verbose  bool
}

func newImageBuildCommand() *cobra.Command {
	var f imageBuildFlags
	cmd := &cobra.Command{
		Use:   "build [ENGINE[:VERSION]]...",
		Short: "Make images; those that are there already are left as they are",
		Example: "  huker image build              # those that new databases are made from\n" +
			"  huker image build mysql:8.4\n" +
			"  huker image build --refresh    # anew, with the packages of today\n" +
			"  huker image build --service    # Huker's own, from Dockerfile and bin/",
		ValidArgsFunction: completeEntries,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return imageBuild(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), args, f)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.mirror, "mirror", os.Getenv("HUKER_MIRROR"), "Debian mirror to take packages from (default: the one that this machine's apt uses)")
	fs.StringVar(&f.context, "context", ".", "the project's folder, for --service")
	fs.BoolVar(&f.refresh, "refresh", false, "make them anew even when they are there")
	fs.BoolVar(&f.all, "all", false, "every entry of versions.yaml")
	fs.BoolVar(&f.service, "service", false, "make the image of Huker's own service instead")
	fs.BoolVar(&f.quiet, "quiet", false, "say what was made, and not how")
	fs.BoolVar(&f.verbose, "verbose", false, "print what the programs of a build print, too")
	cmd.MarkFlagsMutuallyExclusive("all", "service")
	cmd.MarkFlagsMutuallyExclusive("quiet", "verbose")
	return cmd
}

func newImageVerifyCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "verify [ENGINE[:VERSION] | IMAGE]...",
		Short: "Boot images and check that they have what Huker needs",
		Long: "Boot each image as Huker runs it (own user, read-only root file system, no capabilities) and check that the server starts and\n" +
			"shuts down cleanly, that its semi-synchronous replication and clone plugins work, and that its template data directory and its\n" +
			"catalogue of parameters are there. Without a name: all that `huker image build` makes.",
		Example:           "  huker image verify\n  huker image verify mysql:9.7 --output json",
		ValidArgsFunction: completeEntries,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return imageVerify(ctx, cmd.OutOrStdout(), args, output)
		},
	}
	addOutputFlag(cmd, &output)
	return cmd
}

func newImageListCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "list", Short: "List Huker's images, and those that could be made", Args: cobra.NoArgs, Example: "  huker image list --output json",
		RunE: func(cmd *cobra.Command, _ []string) error { return imageList(cmd.Context(), cmd.OutOrStdout(), output) },
	}
	addOutputFlag(cmd, &output)
	return cmd
}

func newImageBaseCommand() *cobra.Command {
	var mirror string
	cmd := &cobra.Command{
		Use: "base", Short: "Make the minimal Debian below Huker's own services, or find it made, and print its name", Args: cobra.NoArgs,
		Example: "  docker build --build-arg BASE=$(huker image base) -f docker/rabbitmq/Dockerfile .",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			b, done, err := imageBuilder(mirror)
			if err != nil {
				return err
			}
			defer done()
			began := time.Now()
			ref, err := b.ServiceBase(ctx, func(line string) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%6.1fs  %s\n", time.Since(began).Seconds(), line)
			})
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), ref)
			return nil
		},
	}
	cmd.Flags().StringVar(&mirror, "mirror", os.Getenv("HUKER_MIRROR"), "Debian mirror to take packages from (default: the one that this machine's apt uses)")
	return cmd
}

func addOutputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "table", "table or json")
}

func completeEntries(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	c, err := images.Load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, e := range c.Images {
		names = append(names, e.String())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// imageBuilder gives a Builder on this machine's engine. done ends its connections.
func imageBuilder(mirror string, options ...images.Option) (b *images.Builder, done func(), err error) {
	if mirror == "" {
		if mirror, err = images.HostMirror(aptDir); err != nil {
			return nil, nil, err
		}
	}
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, nil, fmt.Errorf("setting up the Docker client: %w", err)
	}
	log := slog.New(slog.DiscardHandler) // progress says it all to a person
	return images.NewBuilder(docker, log, append(options, images.WithMirror(mirror))...), func() { _ = docker.Close() }, nil
}

func imageBuild(ctx context.Context, out, errOut io.Writer, args []string, f imageBuildFlags) error {
	c, err := images.Load()
	if err != nil {
		return err
	}
	if f.service && len(args) > 0 {
		return usagef("--service takes no names")
	}
	entries, err := entriesOf(c, args, f.all)
	if err != nil {
		return err
	}
	began := time.Now()
	say := func(line string) { fmt.Fprintf(errOut, "%6.1fs  %s\n", time.Since(began).Seconds(), line) }
	var progress, detail images.Progress
	if !f.quiet {
		progress = say
	}
	if f.verbose {
		detail = say
	}
	b, done, err := imageBuilder(f.mirror, images.WithDetail(detail))
	if err != nil {
		return err
	}
	defer done()
	if f.service {
		built, err := b.BuildService(ctx, f.context, serviceVersion, progress)
		if err != nil {
			return err
		}
		sayBuilt(out, built)
		return nil
	}
	for _, e := range entries {
		build := b.Build
		if f.refresh {
			build = b.Rebuild
		}
		built, err := build(ctx, e, progress)
		if err != nil {
			return err
		}
		sayBuilt(out, built)
	}
	return nil
}

// serviceVersion is what an image that was made by hand calls itself.
const serviceVersion = "dev"

func sayBuilt(out io.Writer, b images.Built) {
	what := "built"
	if b.Reused {
		what = "there already"
	}
	fmt.Fprintf(out, "%s  %d MB  %s\n", b.Ref, b.Size/1e6, what)
}

func entriesOf(c images.Catalogue, names []string, all bool) ([]images.Entry, error) {
	if all {
		return c.Images, nil
	}
	if len(names) == 0 {
		return c.Built(), nil
	}
	var entries []images.Entry
	for _, n := range names {
		e, err := c.Find(n)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func imageVerify(ctx context.Context, out io.Writer, args []string, output string) error {
	c, err := images.Load()
	if err != nil {
		return err
	}
	if err := checkOutput(output); err != nil {
		return err
	}
	b, done, err := imageBuilder("")
	if err != nil {
		return err
	}
	defer done()
	refs, err := refsOf(ctx, b, c, args)
	if err != nil {
		return err
	}
	var reports []images.Report
	var bad []error
	for _, ref := range refs {
		r, err := b.Verify(ctx, ref)
		if err != nil {
			return err
		}
		reports = append(reports, r)
		if output == "table" {
			sayReport(out, r)
		}
		bad = append(bad, r.Err())
	}
	if output == "json" {
		if err := writeJSON(out, reports); err != nil {
			return err
		}
	}
	return errors.Join(bad...)
}

// refsOf gives the images that names stand for: entries' newest, and anything else as it is.
func refsOf(ctx context.Context, b *images.Builder, c images.Catalogue, names []string) ([]string, error) {
	if len(names) == 0 {
		for _, e := range c.Built() {
			names = append(names, e.String())
		}
	}
	var refs []string
	for _, n := range names {
		e, err := c.Find(n)
		if errors.Is(err, images.ErrUnknown) {
			refs = append(refs, n)
			continue
		}
		if err != nil {
			return nil, err
		}
		built, err := b.Resolve(ctx, e)
		if err != nil {
			return nil, fmt.Errorf("%w (huker image build %s)", err, e)
		}
		refs = append(refs, built.Ref)
	}
	return refs, nil
}

func sayReport(out io.Writer, r images.Report) {
	fmt.Fprintf(out, "%s (%s %s), %.1f s\n", r.Ref, r.Facts.Engine, r.Facts.Version, r.Took.Seconds())
	for _, c := range r.Checks {
		mark := "ok    "
		if !c.OK {
			mark = "FAILED"
		}
		fmt.Fprintf(out, "  %s  %-28s %s\n", mark, c.Name, c.Detail)
	}
}

func imageList(ctx context.Context, out io.Writer, output string) error {
	c, err := images.Load()
	if err != nil {
		return err
	}
	if err := checkOutput(output); err != nil {
		return err
	}
	b, done, err := imageBuilder("")
	if err != nil {
		return err
	}
	defer done()
	list, err := b.List(ctx, c)
	if err != nil {
		return err
	}
	if output == "json" {
		return writeJSON(out, list)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tENTRY\tVERSION\tIMAGE\tMB\tMADE\tCURRENT")
	for _, l := range list {
		ref, made, size, current := "(not built)", "-", "-", "-"
		if l.Ref != "" {
			ref, made, size, current = l.Ref, l.Created.Format(time.DateTime), fmt.Sprint(l.Size/1e6), "no"
		}
		if l.Current {
			current = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Kind, dash(l.Entry), dash(l.Version), ref, size, made, current)
	}
	return w.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func checkOutput(output string) error {
	if output != "table" && output != "json" {
		return usagef("--output %q: want table or json", output)
	}
	return nil
}

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}
