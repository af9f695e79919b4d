package engines

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddresses(t *testing.T) {
	for text, want := range map[string]Address{
		"etcd://10.88.0.1:12379":                     {Scheme: "etcd", Hosts: []string{"10.88.0.1:12379"}},
		"zookeeper://a:2281,b:2281/huker/prod":       {Scheme: "zookeeper", Hosts: []string{"a:2281", "b:2281"}, Path: "huker/prod"},
		"rabbitmq://bob@[::1]:5671/vhost?tls=off":    {Scheme: "rabbitmq", Hosts: []string{"[::1]:5671"}, Path: "vhost", User: "bob", Plain: true},
		"rabbitmq://rabbit.example.org:5671":         {Scheme: "rabbitmq", Hosts: []string{"rabbit.example.org:5671"}},
		"zookeeper://10.0.0.1:2181,10.0.0.2:2181/hk": {Scheme: "zookeeper", Hosts: []string{"10.0.0.1:2181", "10.0.0.2:2181"}, Path: "hk"},
	} {
		a, err := ParseAddress(text, "etcd", "zookeeper", "rabbitmq")
		require.NoError(t, err, text)
		require.Equal(t, want, a)
		require.Equal(t, text, a.String())
	}
}

func TestBadAddressesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "must begin with etcd:// or zookeeper://",
		"rabbitmq://a:1":            "must begin with",
		"zookeeper://a":             `"a" is not HOST:PORT`,
		"zookeeper://a:1,,b:1":      `"" is not HOST:PORT`,
		"zookeeper://u:secret@a:1":  "a password does not belong into an address",
		"zookeeper://a:1?tls=maybe": "the only option is tls=on or tls=off",
		"zookeeper://a:1?x=y":       "the only option is",
	} {
		_, err := ParseAddress(text, "etcd", "zookeeper")
		require.ErrorIs(t, err, ErrAddress, text)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
}
