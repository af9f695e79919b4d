package network_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/network"
)

func TestRender(t *testing.T) {
	t.Parallel()
	got, err := network.Render("HUKER-X", "hk-1", network.Rules{Access: []network.Access{
		{Address: "10.88.0.10", Public: true},
		{Address: "10.88.0.11", Public: true, AllowedCIDRs: []string{"203.0.113.7/24", "2001:db8::/32"}},
		{Address: "10.88.0.12", AllowedCIDRs: []string{"10.1.0.0/16", "8.8.8.0/24"}},
		{Address: "10.88.0.13", Peers: []string{"10.88.3.20"}},
	}, Egress: []network.Egress{{To: "192.0.2.7", Port: 5671}, {To: "10.88.3.9/24", Port: 3306}}, Leaders: []string{"10.88.3.1"}})
	require.NoError(t, err)
	require.Equal(t, `:HUKER-X - [0:0]
-A HUKER-X -i hk-1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A HUKER-X -o hk-1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A HUKER-X -s 10.88.3.1/32 -o hk-1 -p tcp -m tcp --dport 3306 -j ACCEPT
-A HUKER-X -s 0.0.0.0/0 -d 10.88.0.10/32 -o hk-1 -p tcp -m tcp --dport 3306 -j ACCEPT
-A HUKER-X -s 203.0.113.0/24 -d 10.88.0.11/32 -o hk-1 -p tcp -m tcp --dport 3306 -j ACCEPT
-A HUKER-X -s 10.1.0.0/16 -d 10.88.0.12/32 -o hk-1 -p tcp -m tcp --dport 3306 -j ACCEPT
-A HUKER-X -s 10.88.3.20/32 -d 10.88.0.13/32 -o hk-1 -p tcp -m tcp --dport 3306 -j ACCEPT
-A HUKER-X -s 10.0.0.0/8 -d 10.88.0.13/32 -o hk-1 -p tcp -m tcp --dport 3306 -j ACCEPT
-A HUKER-X -s 172.16.0.0/12 -d 10.88.0.13/32 -o hk-1 -p tcp -m tcp --dport 3306 -j ACCEPT
-A HUKER-X -s 192.168.0.0/16 -d 10.88.0.13/32 -o hk-1 -p tcp -m tcp --dport 3306 -j ACCEPT
-A HUKER-X -o hk-1 -j DROP
-A HUKER-X -i hk-1 -p tcp -m conntrack --ctorigdst 192.0.2.7/32 --ctorigdstport 5671 -j ACCEPT
-A HUKER-X -i hk-1 -p tcp -m conntrack --ctorigdst 10.88.3.0/24 --ctorigdstport 3306 -j ACCEPT
-A HUKER-X -i hk-1 -j DROP
`, got)
}

func TestRenderRefusesWhatIsNoAddress(t *testing.T) {
	t.Parallel()
	for _, a := range []network.Access{
		{Address: "10.88.0.10\n-A INPUT -j DROP", Public: true},
		{Address: "::1", Public: true},
		{Address: "10.88.0.10", Public: true, AllowedCIDRs: []string{"everyone"}},
		{Address: "10.88.0.10", Peers: []string{"10.88.0.0/24"}},
	} {
		_, err := network.Render("HUKER-X", "hk-1", network.Rules{Access: []network.Access{a}})
		require.ErrorIs(t, err, network.ErrInvalid, "%+v", a)
	}
}

func TestRenderRefusesWhatNobodyCanReach(t *testing.T) {
	t.Parallel()
	for _, e := range []network.Egress{{To: "192.0.2.7"}, {To: "192.0.2.7", Port: 70000}, {To: "rabbit", Port: 1}, {To: "::1", Port: 1}, {To: "::/0", Port: 1}} {
		_, err := network.Render("HUKER-X", "hk-1", network.Rules{Egress: []network.Egress{e}})
		require.ErrorIs(t, err, network.ErrInvalid, "%+v", e)
	}
	for _, l := range []string{"", "h1", "10.0.0.0/8", "::1"} {
		_, err := network.Render("HUKER-X", "hk-1", network.Rules{Leaders: []string{l}})
		require.ErrorIs(t, err, network.ErrInvalid, l)
	}
}

func TestRenderRefusesWhatIsNoInterface(t *testing.T) {
	t.Parallel()
	for _, bridge := range []string{"", "hk-1 -j ACCEPT\n", "a-name-of-16-char", "+"} {
		_, err := network.Render("HUKER-X", bridge, network.Rules{})
		require.ErrorIs(t, err, network.ErrInvalid, "%q", bridge)
	}
}

// Rules of one address are never more than the sources given, whatever is given.
func TestRenderOfNobody(t *testing.T) {
	t.Parallel()
	got, err := network.Render("HUKER-X", "hk-1", network.Rules{Access: []network.Access{{Address: "10.88.0.10", AllowedCIDRs: []string{"8.8.8.0/24", "2001:db8::/32"}}}})
	require.NoError(t, err)
	require.NotContains(t, got, "10.88.0.10", "not public, and nobody private is allowed: nobody may")
}

func TestNext(t *testing.T) {
	t.Parallel()
	first, err := network.Next("10.88.0.0/24", nil)
	require.NoError(t, err)
	require.Equal(t, "10.88.0.10", first)

	var used []string
	for {
		a, err := network.Next("10.88.0.0/28", used)
		if err != nil {
			require.ErrorIs(t, err, network.ErrExhausted)
			break
		}
		require.NotContains(t, used, a)
		used = append(used, a)
	}
	require.Equal(t, []string{"10.88.0.10", "10.88.0.11", "10.88.0.12", "10.88.0.13", "10.88.0.14"}, used)
}

func TestChainNameFits(t *testing.T) {
	t.Parallel()
	require.LessOrEqual(t, len(network.ChainName("a deployment with a very long name indeed")), 28)
	require.NotEqual(t, network.ChainName("a"), network.ChainName("b"))
}
