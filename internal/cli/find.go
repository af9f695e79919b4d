package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

var idForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// ambiguous says that a name fits several things.
func ambiguous(what, ref string, candidates []string) error {
	return fmt.Errorf("%q is the name of %d %ss; use one of these instead:\n  %s", ref, len(candidates), what, strings.Join(candidates, "\n  "))
}

// instance finds one by id or name.
func (a *app) instance(ctx context.Context, c *client.Client, ref string) (client.Instance, error) {
	if idForm.MatchString(ref) {
		i, err := c.Instance(ctx, ref)
		if err == nil || !client.NotFound(err) {
			return i, err
		}
	}
	all, err := c.Instances(ctx)
	if err != nil {
		return client.Instance{}, err
	}
	var found []client.Instance
	var lines []string
	for _, i := range all {
		if i.Name == ref {
			found = append(found, i)
			lines = append(lines, fmt.Sprintf("%s  %s %s", i.ID, i.Status, i.Address()))
		}
	}
	switch len(found) {
	case 0:
		return client.Instance{}, missingf("there is no instance %q in this project (\"huker instance list\" shows them)", ref)
	case 1:
		return c.Instance(ctx, found[0].ID) // lists leave details out
	}
	return client.Instance{}, ambiguous("instance", ref, lines)
}

// holder gives an instance whose databases and users are meant: the one that is named, or a member of the cluster that is. (The service asks the primary,
// whichever member is named.)
func (a *app) holder(cmd *cobra.Command, ref string) (*client.Client, client.Instance, error) {
	c, i, missing := a.connected(cmd, ref)
	if c == nil || missing == nil || !errors.Is(missing, errMissing) {
		return c, i, missing
	}
	k, err := a.cluster(cmd.Context(), c, ref)
	if errors.Is(err, errMissing) || err == nil && len(k.Instances) == 0 {
		return c, i, missing
	}
	if err == nil {
		i, err = c.Instance(cmd.Context(), first(k.Primary, k.Instances[0].ID))
	}
	return c, i, err
}

// errMissing is of what is not there.
var errMissing = errors.New("not there")

// missing is errMissing in words.
type missing struct{ text string }

func (m *missing) Error() string        { return m.text }
func (m *missing) Is(target error) bool { return target == errMissing }

func missingf(format string, args ...any) error { return &missing{fmt.Sprintf(format, args...)} }

// cluster finds one by id or name.
func (a *app) cluster(ctx context.Context, c *client.Client, ref string) (client.Cluster, error) {
	if idForm.MatchString(ref) {
		k, err := c.Cluster(ctx, ref)
		if err == nil || !client.NotFound(err) {
			return k, err
		}
	}
	all, err := c.Clusters(ctx)
	if err != nil {
		return client.Cluster{}, err
	}
	var found []client.Cluster
	var lines []string
	for _, k := range all {
		if k.Name == ref {
			found = append(found, k)
			lines = append(lines, fmt.Sprintf("%s  %s, %d members", k.ID, k.Status, len(k.Instances)))
		}
	}
	switch len(found) {
	case 0:
		return client.Cluster{}, missingf("there is no cluster %q in this project (\"huker cluster list\" shows them)", ref)
	case 1:
		return found[0], nil
	}
	return client.Cluster{}, ambiguous("cluster", ref, lines)
}

// grouped gives the client and the cluster that a command's first argument names.
func (a *app) grouped(cmd *cobra.Command, ref string) (*client.Client, client.Cluster, error) {
	c, err := a.client(cmd)
	if err != nil {
		return nil, client.Cluster{}, err
	}
	k, err := a.cluster(cmd.Context(), c, ref)
	return c, k, err
}

// connected gives the client and the instance that a command's first argument names.
func (a *app) connected(cmd *cobra.Command, ref string) (*client.Client, client.Instance, error) {
	c, err := a.client(cmd)
	if err != nil {
		return nil, client.Instance{}, err
	}
	i, err := a.instance(cmd.Context(), c, ref)
	return c, i, err
}

// user finds a user of an instance by name, or by name@host where several have the name.
func (a *app) user(ctx context.Context, c *client.Client, instance, ref string) (client.User, error) {
	all, err := c.Users(ctx, instance)
	if err != nil {
		return client.User{}, err
	}
	var found []client.User
	var lines []string
	for _, u := range all {
		if u.String() == ref {
			return u, nil
		}
		if u.Name == ref {
			found = append(found, u)
			lines = append(lines, u.String())
		}
	}
	switch len(found) {
	case 0:
		return client.User{}, fmt.Errorf("there is no user %q on this instance (\"huker user list\" shows them)", ref)
	case 1:
		return found[0], nil
	}
	return client.User{}, ambiguous("user", ref, lines)
}

// flavor finds a size by id or name; the smallest when ref is empty.
func (a *app) flavor(ctx context.Context, c *client.Client, ref string) (client.Flavor, error) {
	all, err := c.Flavors(ctx)
	if err != nil {
		return client.Flavor{}, err
	}
	var known []string
	for _, f := range all {
		if ref == "" || f.ID == ref || f.Name == ref {
			return f, nil
		}
		known = append(known, f.Name)
	}
	return client.Flavor{}, fmt.Errorf("there is no flavor %q; there are %s", ref, strings.Join(known, ", "))
}

// size says what an instance of a flavor gets.
func size(f client.Flavor) string {
	unit := "CPUs"
	if f.VCPUs == 1 {
		unit = "CPU"
	}
	return fmt.Sprintf("%d MB, %g %s", f.RAM, f.VCPUs, unit)
}

func stamp(t client.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
