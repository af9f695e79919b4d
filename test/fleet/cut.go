package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// Way is a direction, as a host sees it.
type Way string

// Both ways are cut unless something else is said.
const (
	Both     Way = ""
	Outbound Way = "out"
	Inbound  Way = "in"
)

// Side is what a host can be cut from: a *Host with its containers, the Controller, or a Net.
type Side interface{ side() string }

// Controller is the machine itself, as the hosts see it: its root namespace, and whatever is behind it.
type Controller struct {
	Address string // IPv4, on the switch
}

// Net is an IPv4 address, or a CIDR, wherever it is; a host's name, or "controller", does as well.
type Net string

const controllerPort = "controller"

func (Controller) side() string { return controllerPort }
func (n Net) side() string      { return string(n) }
func (h *Host) side() string    { return h.Name }

// Cut says what a host does not exchange with others. Packets are dropped in the switch without a word to anybody; ARP passes, as it would if there were
// routers between the hosts, so a cut is silence and never "no route to host".
type Cut struct {
	From  []Side   // empty: everybody
	Way   Way      // which packets are dropped: both ways, those that the host sends (Outbound), or those sent to it (Inbound)
	Ports []uint16 // TCP and UDP, at either end; empty: everything
}

// cut is a Cut that has been made, as it is remembered.
type cut struct {
	Host  string   `json:"host"`
	From  []string `json:"from,omitempty"`
	Way   Way      `json:"way,omitempty"`
	Ports []uint16 `json:"ports,omitempty"`
}

// Cut cuts the host off from all others and from the controller.
func (h *Host) Cut(ctx context.Context) error { return h.CutFrom(ctx, Cut{}) }

// CutFrom makes a cut, in addition to those there are. It holds until Heal, also while the host is down and after it comes back.
func (h *Host) CutFrom(ctx context.Context, c Cut) error {
	made := cut{Host: h.Name, Way: c.Way, Ports: c.Ports}
	for _, s := range c.From {
		made.From = append(made.From, s.side())
	}
	return h.fleet.changeCuts(ctx, func(cuts []cut) []cut { return append(cuts, made) })
}

// mend takes away all cuts that the host is part of.
func (h *Host) mend(ctx context.Context) error {
	return h.fleet.changeCuts(ctx, func(cuts []cut) []cut {
		var others []cut
		for _, c := range cuts {
			if c.Host == h.Name {
				continue
			}
			if from := slices.DeleteFunc(slices.Clone(c.From), func(s string) bool { return s == h.Name }); len(from) > 0 || len(c.From) == 0 {
				c.From = from
				others = append(others, c)
			}
		}
		return others
	})
}

// changeCuts replaces the switch's rules as a whole; when that fails all is as before.
func (f *Fleet) changeCuts(ctx context.Context, change func([]cut) []cut) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	cuts := change(slices.Clone(f.state.Cuts))
	rules, err := renderCuts(cuts, f.hostNames())
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := enter(f.hub, ofNetwork, cmd.Start); err != nil {
		return fmt.Errorf("cutting: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return errors.Join(fmt.Errorf("cutting: nft: %w: %s", err, strings.TrimSpace(out.String())), ctx.Err())
	}
	f.state.Cuts = cuts
	return f.save()
}

// renderCuts gives nft's commands for all rules of the switch. Its ports are named by whom they lead to.
func renderCuts(cuts []cut, hosts []string) (string, error) {
	var b strings.Builder
	b.WriteString("flush ruleset\ntable bridge cuts {\n\tchain forward {\n\t\ttype filter hook forward priority 0; policy accept;\n")
	for _, c := range cuts {
		from := c.From
		if len(from) == 0 {
			from = []string{""}
		}
		for _, s := range from {
			sent, received, err := matches(s, hosts)
			if err != nil {
				return "", err
			}
			for _, ports := range portMatches(c.Ports) {
				if c.Way != Inbound {
					fmt.Fprintf(&b, "\t\tiifname %q%s meta protocol { ip, ip6 }%s drop\n", c.Host, sent, ports)
				}
				if c.Way != Outbound {
					fmt.Fprintf(&b, "\t\toifname %q%s meta protocol { ip, ip6 }%s drop\n", c.Host, received, ports)
				}
			}
		}
	}
	b.WriteString("\t}\n}\n")
	return b.String(), nil
}

// matches gives what is true of packets sent to a side and received from it.
func matches(side string, hosts []string) (sent, received string, err error) {
	if side == "" {
		return "", "", nil
	}
	if side == controllerPort || slices.Contains(hosts, side) {
		return fmt.Sprintf(" oifname %q", side), fmt.Sprintf(" iifname %q", side), nil
	}
	p, err := netip.ParsePrefix(side)
	if a, aerr := netip.ParseAddr(side); aerr == nil {
		p, err = a.Prefix(a.BitLen())
	}
	if err != nil || !p.Addr().Is4() {
		return "", "", fmt.Errorf("%w: %q is no host, and no IPv4 address or CIDR", ErrInvalid, side)
	}
	return " ip daddr " + p.Masked().String(), " ip saddr " + p.Masked().String(), nil
}

// portMatches gives what is true of packets of connections with one of the ports, at either end.
func portMatches(ports []uint16) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var list []string
	for _, p := range ports {
		list = append(list, strconv.Itoa(int(p)))
	}
	set := "{ " + strings.Join(list, ", ") + " }"
	return []string{" meta l4proto { tcp, udp } th dport " + set, " meta l4proto { tcp, udp } th sport " + set}
}
