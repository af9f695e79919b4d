package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// link leads to the next page.
type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// pages reads a whole listing. key is the name of the list in the body.
func pages[T any](ctx context.Context, c *Client, where, key string, marker func(T) string) ([]T, error) {
	all := []T{}
	query := ""
	for {
		var body map[string]json.RawMessage
		if err := c.call(ctx, http.MethodGet, where+query, nil, &body); err != nil {
			return nil, err
		}
		var items []T
		var links []link
		for part, to := range map[string]any{key: &items, "links": &links} {
			if raw, ok := body[part]; ok {
				if err := json.Unmarshal(raw, to); err != nil {
					return nil, fmt.Errorf("client: read %s of the answer: %w", part, err)
				}
			}
		}
		all = append(all, items...)
		if len(items) == 0 || !slices.ContainsFunc(links, func(l link) bool { return l.Rel == "next" }) {
			return all, nil
		}
		// Made here instead of followed: the link may name a host that this client does not reach.
		separator := "?"
		if strings.Contains(where, "?") {
			separator = "&"
		}
		query = separator + "marker=" + url.QueryEscape(marker(items[len(items)-1]))
	}
}

// Instances lists them, newest first; members of clusters included.
func (c *Client) Instances(ctx context.Context) ([]Instance, error) {
	return pages(ctx, c, "instances?include_clustered=true", "instances", func(i Instance) string { return i.ID })
}

// Instance gives one by id.
func (c *Client) Instance(ctx context.Context, id string) (Instance, error) {
	var body struct{ Instance Instance }
	err := c.call(ctx, http.MethodGet, path("instances", id), nil, &body)
	return body.Instance, err
}

// CreateInstance asks for one; it is not ready when this returns.
func (c *Client) CreateInstance(ctx context.Context, n NewInstance) (Instance, error) {
	var body struct{ Instance Instance }
	err := c.call(ctx, http.MethodPost, "instances", object{"instance": n}, &body)
	return body.Instance, err
}

// DeleteInstance asks for its deletion.
func (c *Client) DeleteInstance(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, path("instances", id), nil, nil)
}

// ForceDeleteInstance gives up what is under way, and deletes.
func (c *Client) ForceDeleteInstance(ctx context.Context, id string) error {
	if err := c.act(ctx, id, object{"reset_status": object{}}); err != nil {
		return err
	}
	return c.DeleteInstance(ctx, id)
}

func (c *Client) act(ctx context.Context, id string, action object) error {
	return c.call(ctx, http.MethodPost, path("instances", id, "action"), action, nil)
}

// Restart asks for a restart of the server.
func (c *Client) Restart(ctx context.Context, id string) error {
	return c.act(ctx, id, object{"restart": object{}})
}

// SetAccess says who may reach an instance.
func (c *Client) SetAccess(ctx context.Context, id string, a Access) error {
	return c.call(ctx, http.MethodPut, path("instances", id), object{"instance": object{"access": a}}, nil)
}

// ResizeFlavor asks for another size.
func (c *Client) ResizeFlavor(ctx context.Context, id, flavor string) error {
	return c.act(ctx, id, object{"resize": object{"flavorRef": flavor}})
}

// ResizeVolume asks for a larger volume.
func (c *Client) ResizeVolume(ctx context.Context, id string, gb int) error {
	return c.act(ctx, id, object{"resize": object{"volume": object{"size": gb}}})
}

// Events gives an instance's history, oldest first; limit 0 is as many as the server gives.
func (c *Client) Events(ctx context.Context, id string, limit int) ([]Event, error) {
	var body struct{ Events []Event }
	err := c.call(ctx, http.MethodGet, path("instances", id, "events")+limited(limit), nil, &body)
	return body.Events, err
}

// CA gives the certificate, PEM, of the authority that an instance's server is known by; empty when there is none yet.
func (c *Client) CA(ctx context.Context, id string) (string, error) {
	var body struct {
		SSL struct {
			CA string `json:"ca"`
		} `json:"ssl"`
	}
	err := c.call(ctx, http.MethodGet, path("instances", id, "ssl"), nil, &body)
	return body.SSL.CA, err
}

// Logs lists an instance's logs.
func (c *Client) Logs(ctx context.Context, id string) ([]Log, error) {
	var body struct{ Logs []Log }
	err := c.call(ctx, http.MethodGet, path("instances", id, "log"), nil, &body)
	return body.Logs, err
}

// ReadLog gives a part of a log; a negative offset counts from its end.
func (c *Client) ReadLog(ctx context.Context, id, name string, offset int64) (LogPart, error) {
	var part LogPart
	err := c.call(ctx, http.MethodGet, path("instances", id, "log", name, "content")+fmt.Sprintf("?offset=%d", offset), nil, &part)
	return part, err
}

// SetLog does one of "enable", "disable", "discard" with a log.
func (c *Client) SetLog(ctx context.Context, id, name, action string) (Log, error) {
	var body struct{ Log Log }
	err := c.call(ctx, http.MethodPost, path("instances", id, "log"), object{"name": name, action: 1}, &body)
	return body.Log, err
}

// Databases lists an instance's databases by name.
func (c *Client) Databases(ctx context.Context, id string) ([]Database, error) {
	return pages(ctx, c, path("instances", id, "databases"), "databases", func(d Database) string { return d.Name })
}

// CreateDatabases makes databases.
func (c *Client) CreateDatabases(ctx context.Context, id string, ds ...Database) error {
	return c.call(ctx, http.MethodPost, path("instances", id, "databases"), object{"databases": ds}, nil)
}

// DeleteDatabase drops a database with all that is in it.
func (c *Client) DeleteDatabase(ctx context.Context, id, name string) error {
	return c.call(ctx, http.MethodDelete, path("instances", id, "databases", name), nil, nil)
}

// Users lists an instance's users by name and host.
func (c *Client) Users(ctx context.Context, id string) ([]User, error) {
	return pages(ctx, c, path("instances", id, "users"), "users", User.String)
}

// User gives one.
func (c *Client) User(ctx context.Context, id, name, host string) (User, error) {
	var body struct{ User User }
	err := c.call(ctx, http.MethodGet, userPath(id, name, host), nil, &body)
	return body.User, err
}

func userPath(id, name, host string) string {
	return path("instances", id, "users", name+"@"+host)
}

// CreateUser makes a user.
func (c *Client) CreateUser(ctx context.Context, id string, u NewUser) error {
	return c.call(ctx, http.MethodPost, path("instances", id, "users"), object{"users": []NewUser{u}}, nil)
}

// DeleteUser drops a user.
func (c *Client) DeleteUser(ctx context.Context, id, name, host string) error {
	return c.call(ctx, http.MethodDelete, userPath(id, name, host), nil, nil)
}

// SetUserPassword gives a user a new password.
func (c *Client) SetUserPassword(ctx context.Context, id, name, host, password string) error {
	return c.call(ctx, http.MethodPut, userPath(id, name, host), object{"user": object{"password": password}}, nil)
}

// Grant gives a user all rights on databases.
func (c *Client) Grant(ctx context.Context, id, name, host string, databases ...string) error {
	list := make([]Database, len(databases))
	for i, d := range databases {
		list[i].Name = d
	}
	return c.call(ctx, http.MethodPut, userPath(id, name, host)+"/databases", object{"databases": list}, nil)
}

// Revoke takes the rights on a database back.
func (c *Client) Revoke(ctx context.Context, id, name, host, database string) error {
	return c.call(ctx, http.MethodDelete, userPath(id, name, host)+"/databases/"+path(database), nil, nil)
}

// RootEnabled reports whether root can sign in.
func (c *Client) RootEnabled(ctx context.Context, id string) (bool, error) {
	var body struct{ RootEnabled bool }
	err := c.call(ctx, http.MethodGet, path("instances", id, "root"), nil, &body)
	return body.RootEnabled, err
}

// EnableRoot opens root, and gives its password: a new one when none is given.
func (c *Client) EnableRoot(ctx context.Context, id, password string) (string, error) {
	in := object{}
	if password != "" {
		in["password"] = password
	}
	var body struct{ User struct{ Password string } }
	err := c.call(ctx, http.MethodPost, path("instances", id, "root"), in, &body)
	return body.User.Password, err
}

// DisableRoot shuts root.
func (c *Client) DisableRoot(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, path("instances", id, "root"), nil, nil)
}

// Flavors lists the sizes of instances.
func (c *Client) Flavors(ctx context.Context) ([]Flavor, error) {
	var body struct{ Flavors []Flavor }
	err := c.call(ctx, http.MethodGet, "flavors", nil, &body)
	return body.Flavors, err
}

// Quota gives a project's limits with what it uses.
func (c *Client) Quota(ctx context.Context, project string) ([]QuotaUsage, error) {
	var body struct{ Quotas []QuotaUsage }
	err := c.call(ctx, http.MethodGet, path("mgmt", "quotas", project), nil, &body)
	return body.Quotas, err
}

// SetQuota changes limits by resource: instances, ram, volumes, backups. For administrators.
func (c *Client) SetQuota(ctx context.Context, project string, limits map[string]int) error {
	return c.call(ctx, http.MethodPut, path("mgmt", "quotas", project), object{"quotas": limits}, nil)
}

// FindProject gives a project by id or name. For administrators; others get their own only.
func (c *Client) FindProject(ctx context.Context, ref string) (Project, error) {
	var all struct{ Projects []Project }
	for _, where := range []string{"projects", "auth/projects"} {
		err := c.identity(ctx, where, &all)
		if err == nil {
			break
		}
		if where == "auth/projects" {
			if c.conf.AuthURL == "" && NotFound(err) { // accounts are elsewhere, where these credentials open nothing: only an id can be meant
				return Project{ID: ref, Name: ref}, nil
			}
			return Project{}, err
		}
	}
	for _, key := range []func(Project) string{func(p Project) string { return p.ID }, func(p Project) string { return p.Name }} {
		for _, p := range all.Projects {
			if key(p) == ref {
				return p, nil
			}
		}
	}
	return Project{}, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("There is no project %q, or you may not see it.", ref)}
}

// identity asks the identity service.
func (c *Client) identity(ctx context.Context, where string, out any) error {
	base := c.conf.AuthURL
	if base == "" { // the ways of signing in that have none: Huker's own is beside the database API
		root, _, _ := strings.Cut(c.conf.Endpoint, "/v1.0")
		base = root + "/identity/v3"
	}
	return c.signed(ctx, func(g grant) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/"+where, nil)
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		g.sign(req)
		return send(c.http, req, false, out)
	})
}

// Health asks how the service's parts are: "ok", or what is wrong. It needs no sign-in.
func (c *Client) Health(ctx context.Context) (map[string]string, error) {
	endpoint, err := c.Endpoint(ctx)
	if err != nil {
		return nil, err
	}
	root, _, _ := strings.Cut(endpoint, "/v1.0")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, root+"/healthz", nil)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &Unreachable{URL: root, Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	var parts map[string]string
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&parts); err != nil {
		return nil, fmt.Errorf("client: read the health of %s (HTTP %d): %w", root, resp.StatusCode, err)
	}
	return parts, nil
}

// Hosts lists the machines that databases are on. For administrators.
func (c *Client) Hosts(ctx context.Context) ([]Host, error) {
	var body struct{ Hosts []Host }
	err := c.call(ctx, http.MethodGet, path("mgmt", "hosts"), nil, &body)
	return body.Hosts, err
}

// Host gives one of them. For administrators.
func (c *Client) Host(ctx context.Context, name string) (Host, error) {
	var body struct{ Host Host }
	err := c.call(ctx, http.MethodGet, path("mgmt", "hosts", name), nil, &body)
	return body.Host, err
}

// AddHost lets a host come. For administrators.
func (c *Client) AddHost(ctx context.Context, name string) (Host, error) {
	var body struct{ Host Host }
	err := c.call(ctx, http.MethodPost, path("mgmt", "hosts"), object{"host": object{"name": name}}, &body)
	return body.Host, err
}

// ActOnHost drains a host ("drain") or undoes that ("undrain"). For administrators.
func (c *Client) ActOnHost(ctx context.Context, name, action string) error {
	return c.call(ctx, http.MethodPost, path("mgmt", "hosts", name, "action"), object{action: object{}}, nil)
}

// RemoveHost gives up a host that does not come back. For administrators.
func (c *Client) RemoveHost(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, path("mgmt", "hosts", name), nil, nil)
}
