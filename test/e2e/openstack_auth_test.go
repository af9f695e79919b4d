package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/test/osclient"
)

// staticToken is the control plane's, for the mode that clients call admin_token.
const staticToken = "e2e-static-token-0123456789"

// testOpenStackModes signs in each way that the clients know and that Huker has, and asks for something of the database service.
func testOpenStackModes(t *testing.T, p *plane, instance string) {
	a := p.admin()
	root := "http://" + p.listen
	password := p.passwordEnv(a.Username, a.Password, a.Project)
	clouds := p.cloudsFile(t)
	scope := []string{"OS_PROJECT_NAME=" + a.Project, "OS_PROJECT_DOMAIN_NAME=Default"}
	for name, env := range map[string][]string{
		"password":              password,
		"password, unversioned": append(append([]string{}, password...), "OS_AUTH_URL="+root+"/identity"),
		"password, at /v3":      append(append([]string{}, password...), "OS_AUTH_URL="+root+"/v3"),
		"v3password":            append(append([]string{}, password...), "OS_AUTH_TYPE=v3password"),
		"v3token":               append([]string{"OS_AUTH_TYPE=v3token", "OS_AUTH_URL=" + root + "/identity/v3", "OS_TOKEN=" + p.token}, scope...),
		"none":                  {"OS_AUTH_TYPE=none", "OS_ENDPOINT=" + p.endpoint()},
		"admin_token":           {"OS_AUTH_TYPE=admin_token", "OS_ENDPOINT=" + p.endpoint(), "OS_TOKEN=" + staticToken},
		"http_basic":            {"OS_AUTH_TYPE=http_basic", "OS_ENDPOINT=" + p.endpoint(), "OS_USERNAME=" + a.Username, "OS_PASSWORD=" + a.Password},
		"clouds.yaml":           {"OS_CLIENT_CONFIG_FILE=" + clouds, "OS_CLOUD=huker"},
		"clouds.yaml, none":     {"OS_CLIENT_CONFIG_FILE=" + clouds, "OS_CLOUD=huker-noauth"},
	} {
		t.Run(name, func(t *testing.T) {
			rows := osclient.New(t, "openstack", env...).List("database instance list")
			require.Equal(t, []string{instance}, osclient.Column(rows, "ID"))
		})
	}
	for name, env := range map[string][]string{
		"wrong password":    append(append([]string{}, password...), "OS_PASSWORD=wrong"),
		"wrong token":       {"OS_AUTH_TYPE=admin_token", "OS_ENDPOINT=" + p.endpoint(), "OS_TOKEN=" + staticToken + "x"},
		"wrong, http_basic": {"OS_AUTH_TYPE=http_basic", "OS_ENDPOINT=" + p.endpoint(), "OS_USERNAME=" + a.Username, "OS_PASSWORD=wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			osclient.New(t, "openstack", env...).In(t).Refused("database instance list", "HTTP 401")
		})
	}
	t.Run("the old trove program", func(t *testing.T) {
		out := osclient.New(t, "trove", password...).Do("flavor-list")
		require.Contains(t, out, "db.micro")
		require.Contains(t, osclient.New(t, "trove", password...).Do("show "+instance), "ACTIVE")
	})
	t.Run("the Python library", func(t *testing.T) { p.python(t, instance) })
}

// cloudsFile writes a clouds.yaml with both styles.
func (p *plane) cloudsFile(t *testing.T) string {
	t.Helper()
	a := p.admin()
	path := filepath.Join(t.TempDir(), "clouds.yaml")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `clouds:
  huker:
    auth_type: password
    region_name: RegionOne
    auth:
      auth_url: http://%s/identity/v3
      username: %s
      password: %s
      project_name: %s
      user_domain_name: Default
      project_domain_name: Default
  huker-noauth:
    auth_type: none
    auth:
      endpoint: %s
`, p.listen, a.Username, a.Password, a.Project, p.endpoint()), 0o600))
	return path
}

// pythonProgram uses what of troveclient the command line does not.
const pythonProgram = `
import os, sys
from keystoneauth1 import loading, session
from troveclient.v1 import client
from troveclient import exceptions
env = os.environ
auth = loading.get_plugin_loader('password').load_from_options(
    auth_url=env['OS_AUTH_URL'], username=env['OS_USERNAME'], password=env['OS_PASSWORD'], project_name=env['OS_PROJECT_NAME'],
    user_domain_name='Default', project_domain_name='Default')
trove = client.Client(session=session.Session(auth=auth), region_name=env['OS_REGION_NAME'])
wanted = sys.argv[1]

assert [i.id for i in trove.instances.list()] == [wanted]
i = trove.instances.get(wanted)
assert i.status == 'ACTIVE', i.status
assert i.volume['size'] == 1
managed = trove.mgmt_instances.show(wanted)
assert managed.id == wanted
assert [x.id for x in trove.mgmt_instances.list()] == [wanted]
assert trove.mgmt_instances.root_enabled_history(wanted).enabled == 'Never'

trove.databases.create(wanted, [{'name': 'py1', 'character_set': 'latin1', 'collate': 'latin1_swedish_ci'}, {'name': 'py2'}])
page = trove.databases.list(wanted, limit=1)
assert len(page) == 1 and page.next, page.next
names = {d.name for d in page} | {d.name for d in trove.databases.list(wanted, marker=page.next)}
assert {'py1', 'py2'} <= names, names

trove.users.create(wanted, [{'name': 'py', 'password': 'a Python-like 1 word', 'host': '192.168.0.%', 'databases': [{'name': 'py1'}]}])
trove.users.change_passwords(wanted, [{'name': 'py', 'host': '192.168.0.%', 'password': 'Another quite-secret 1'}])
user = trove.users.get(wanted, 'py', '192.168.0.%')
assert user.host == '192.168.0.%' and user.databases == [{'name': 'py1'}], user.to_dict()
trove.users.grant(wanted, 'py', ['py2'], '192.168.0.%')
assert sorted(d.name for d in trove.users.list_access(wanted, 'py', '192.168.0.%')) == ['py1', 'py2']
trove.users.delete(wanted, 'py', '192.168.0.%')
for d in ('py1', 'py2'):
    trove.databases.delete(wanted, d)
try:
    trove.users.get(wanted, 'py', '192.168.0.%')
    raise AssertionError('the user is still there')
except exceptions.NotFound:
    pass
try:
    trove.security_groups.list()
    raise AssertionError('security groups are there: this test is old')
except exceptions.ClientException as e:
    assert 'HTTP 501' in str(e), e
for item in (trove.datastores.list()[0], trove.flavors.list()[0], trove.limits.list()[0]):
    assert item
print('all is well')
`

func (p *plane) python(t *testing.T, instance string) {
	t.Helper()
	a := p.admin()
	c := osclient.New(t, "trove", p.passwordEnv(a.Username, a.Password, a.Project)...)
	cmd := exec.CommandContext(t.Context(), osclient.Python, "-", instance)
	cmd.Env, cmd.Stdin = c.Env(), strings.NewReader(pythonProgram)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "all is well")
}
