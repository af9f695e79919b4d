package fleet

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRenderCuts(t *testing.T) {
	hosts := []string{"h1", "h2"}
	const ip = " meta protocol { ip, ip6 }"
	for name, c := range map[string]struct {
		cut  cut
		want []string
	}{
		"all":  {cut{Host: "h1"}, []string{`iifname "h1"` + ip + ` drop`, `oifname "h1"` + ip + ` drop`}},
		"host": {cut{Host: "h1", From: []string{"h2"}}, []string{`iifname "h1" oifname "h2"` + ip + ` drop`, `oifname "h1" iifname "h2"` + ip + ` drop`}},
		"sent": {cut{Host: "h1", From: []string{"controller"}, Way: Outbound}, []string{`iifname "h1" oifname "controller"` + ip + ` drop`}},
		"received, of a network": {
			cut{Host: "h1", From: []string{"10.1.2.3/24", "10.9.9.9"}, Way: Inbound},
			[]string{`oifname "h1" ip saddr 10.1.2.0/24` + ip + ` drop`, `oifname "h1" ip saddr 10.9.9.9/32` + ip + ` drop`},
		},
		"ports": {cut{Host: "h1", From: []string{"h2"}, Way: Outbound, Ports: []uint16{1, 2}}, []string{
			`iifname "h1" oifname "h2"` + ip + ` meta l4proto { tcp, udp } th dport { 1, 2 } drop`,
			`iifname "h1" oifname "h2"` + ip + ` meta l4proto { tcp, udp } th sport { 1, 2 } drop`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := renderCuts([]cut{c.cut}, hosts)
			require.NoError(t, err)
			var got []string
			for line := range strings.Lines(out) {
				if line = strings.TrimSpace(line); strings.HasSuffix(line, " drop") {
					got = append(got, line)
				}
			}
			require.Equal(t, c.want, got)
		})
	}
	for _, bad := range []string{"h3", "10.1.2.3/33", "::1", `x" accept #`} {
		_, err := renderCuts([]cut{{Host: "h1", From: []string{bad}}}, hosts)
		require.ErrorIs(t, err, ErrInvalid, bad)
	}
}

func TestPlan(t *testing.T) {
	p, err := newPlan("10.130.7.1/16")
	require.NoError(t, err)
	require.Equal(t, "10.130.0.0/16", p.subnet())
	require.Equal(t, "10.130.0.0/17", p.databases())
	require.Equal(t, "10.130.255.1", p.controller().String())
	require.Equal(t, "10.130.255.11", p.host(0).String())
	require.Equal(t, "10.130.0.0/24", p.hostSubnet(0))
	require.Equal(t, "10.130.63.0/24", p.hostSubnet(maxHosts-1))
	require.Equal(t, "10.130.191.1/24", p.dockerBridge(maxHosts-1))
	require.NotEqual(t, mac(p.host(0)), mac(p.host(1)))
	for _, bad := range []string{"", "10.130.0.0/24", "fd00::/16"} {
		_, err := newPlan(bad)
		require.ErrorIs(t, err, ErrInvalid, bad)
	}
}

func TestWhatCannotBe(t *testing.T) {
	for _, o := range []Options{{Hosts: -1}, {Hosts: maxHosts + 1}, {Name: "Capital"}, {Name: "../up"}, {Name: "waytoolongname"}} {
		_, err := register(o)
		require.ErrorIs(t, err, ErrInvalid, "%+v", o)
	}
}
