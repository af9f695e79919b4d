package identity

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
)

// OperatorProject is the project of whoever is root on the control plane's machine while an external Keystone has all others. Keystone's own
// ids are 32 hex digits, so it is none of them.
const OperatorProject = "operator"

// operator takes one secret, and from this machine only.
type operator struct{ secret Authenticator }

// OperatorToken takes the secret that the control plane leaves for root on its machine, as StaticToken does, but from that machine only: it
// stands for being root there.
func OperatorToken(token string) (Authenticator, error) {
	a, err := StaticToken(token)
	if err != nil {
		return nil, err
	}
	s := a.(static)
	s.caller.AccountName = OperatorProject
	return operator{s}, nil
}

func (o operator) Authenticate(ctx context.Context, r *http.Request) (Caller, error) {
	c, err := o.secret.Authenticate(ctx, r)
	if err != nil {
		return Caller{}, err
	}
	if !sameMachine(r) {
		// Not errNoCredentials: the secret would be shown to Keystone next.
		return Caller{}, fmt.Errorf("%w: the operator's token is taken from this machine only", ErrUnauthorized)
	}
	return c, nil
}

// sameMachine reports whether a request comes from where it arrives: over loopback, or from the address that it was sent to.
func sameMachine(r *http.Request) bool {
	if Loopback(r.RemoteAddr) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	to, err := netip.ParseAddrPort(local.String())
	return err == nil && from.Addr().Unmap() == to.Addr().Unmap()
}
