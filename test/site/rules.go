package site

import (
	"context"
	"errors"

	"github.com/huker/huker/network"
)

// unrule takes all chains with a mark in their names out of the firewall, and the jumps to them before.
const unrule = `set -e
for table in nat filter; do
	iptables -w -t $table -S | grep "^-A .* -j HUKER-[^ ]*$1" | sed 's/^-A/-D/' | while read -r rule; do iptables -w -t $table $rule; done
	chains=$(iptables -w -t $table -S | sed -n "s/^-N \(HUKER-[^ ]*$1[^ ]*\)$/\1/p")
	for chain in $chains; do iptables -w -t $table -F $chain; done
	for chain in $chains; do iptables -w -t $table -X $chain; done
done`

// Clear takes a deployment's rules off the hosts, once none of its processes runs. Deployments have ranges of addresses that overlap here, unlike elsewhere: what one that
// is gone has left would be done to the connections of those that come after it.
func (s *Site) Clear(ctx context.Context, name string) error {
	mark := network.ChainName(name)[len("HUKER-"):][:8] // all of its chains have these digits in their names
	var errs []error
	for _, h := range s.Fleet.Hosts {
		_, err := h.Exec(ctx, "sh", "-c", unrule, "sh", mark)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
