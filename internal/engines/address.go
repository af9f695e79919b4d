package engines

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Schemes of addresses.
const (
	SchemeEtcd      = "etcd"
	SchemeZooKeeper = "zookeeper"
	SchemeRabbitMQ  = "rabbitmq"
)

// ErrAddress means that an engine's address cannot be understood.
var ErrAddress = errors.New("bad address of an engine")

// Address is where an engine is: "zookeeper://a:2281,b:2281,c:2281/huker". It holds no secret.
type Address struct {
	Scheme string
	Hosts  []string // host:port, each
	Path   string   // without slashes around it: ZooKeeper's root, RabbitMQ's virtual host
	User   string   // where one does not come by certificate
	Plain  bool     // without TLS: "?tls=off", on loopback and trusted networks only
}

// ParseAddress reads an address of one of the schemes given.
func ParseAddress(text string, schemes ...string) (Address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !slices.Contains(schemes, scheme) {
		return Address{}, fmt.Errorf("%w: %q must begin with %s://", ErrAddress, text, strings.Join(schemes, ":// or "))
	}
	a := Address{Scheme: scheme}
	rest, query, _ := strings.Cut(rest, "?")
	options, err := url.ParseQuery(query)
	if err != nil {
		return Address{}, fmt.Errorf("%w: %q: %w", ErrAddress, text, err)
	}
	for name, values := range options {
		if name != "tls" || len(values) != 1 || (values[0] != "on" && values[0] != "off") {
			return Address{}, fmt.Errorf("%w: %q: the only option is tls=on or tls=off", ErrAddress, text)
		}
		a.Plain = values[0] == "off"
	}
	hosts, path, _ := strings.Cut(rest, "/")
	if user, after, found := strings.Cut(hosts, "@"); found {
		if strings.Contains(user, ":") {
			return Address{}, fmt.Errorf("%w: a password does not belong into an address, where others can see it: give the file it is in", ErrAddress)
		}
		a.User, hosts = user, after
	}
	a.Path = strings.Trim(path, "/")
	for h := range strings.SplitSeq(hosts, ",") {
		if host, port, err := net.SplitHostPort(h); err != nil || host == "" || port == "" {
			return Address{}, fmt.Errorf("%w: %q: %q is not HOST:PORT", ErrAddress, text, h)
		}
		a.Hosts = append(a.Hosts, h)
	}
	return a, nil
}

// Etcd is the address of an etcd with these endpoints, "https://10.0.0.1:12379".
func Etcd(endpoints ...string) string {
	a := Address{Scheme: SchemeEtcd}
	for _, e := range endpoints {
		a.Hosts = append(a.Hosts, strings.TrimPrefix(e, "https://"))
	}
	return a.String()
}

// String gives the address as it was written.
func (a Address) String() string {
	s := a.Scheme + "://"
	if a.User != "" {
		s += a.User + "@"
	}
	s += strings.Join(a.Hosts, ",")
	if a.Path != "" {
		s += "/" + a.Path
	}
	if a.Plain {
		s += "?tls=off"
	}
	return s
}
