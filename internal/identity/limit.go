package identity

import (
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// SignInLimits bound how often passwords may be guessed. Only failures count, so that programs which sign in for each
// command are not held up. Zero values are the defaults.
type SignInLimits struct {
	PerUserBurst    int        // failures of one user name from one address in a row
	PerUser         rate.Limit // and how many more per second
	PerAddressBurst int
	PerAddress      rate.Limit
	Remembered      int // user-and-address pairs, and addresses, kept in memory
}

func (l SignInLimits) withDefaults() SignInLimits {
	if l.PerUserBurst == 0 {
		l.PerUserBurst = 10
	}
	if l.PerUser == 0 {
		l.PerUser = rate.Every(6 * time.Second) // 14,400 guesses a day
	}
	if l.PerAddressBurst == 0 {
		l.PerAddressBurst = 60
	}
	if l.PerAddress == 0 {
		l.PerAddress = 1
	}
	if l.Remembered == 0 {
		l.Remembered = 10000
	}
	return l
}

// guessLimiter counts failures per user and address, and per address.
type guessLimiter struct {
	limits    SignInLimits
	users     *lru[*rate.Limiter]
	addresses *lru[*rate.Limiter]
}

func newGuessLimiter(l SignInLimits) *guessLimiter {
	l = l.withDefaults()
	return &guessLimiter{limits: l, users: newLRU[*rate.Limiter](l.Remembered), addresses: newLRU[*rate.Limiter](l.Remembered)}
}

// allow gives a *LimitedError when there were too many failures. It is asked before the password is looked at, and again when
// its turn to be hashed has come: so a burst of parallel guesses gets no further than the number of hashing slots beyond the limit.
func (g *guessLimiter) allow(user, address string, now time.Time) error {
	var wait time.Duration
	if l, ok := g.addresses.get(address, now); ok {
		wait = max(wait, untilToken(l, now))
	}
	if l, ok := g.users.get(user+"\x00"+address, now); ok {
		wait = max(wait, untilToken(l, now))
	}
	if wait > 0 {
		return &LimitedError{RetryAfter: wait}
	}
	return nil
}

func (g *guessLimiter) failed(user, address string, now time.Time) {
	g.addresses.getOrPut(address, func() *rate.Limiter {
		return rate.NewLimiter(g.limits.PerAddress, g.limits.PerAddressBurst)
	}).AllowN(now, 1)
	g.users.getOrPut(user+"\x00"+address, func() *rate.Limiter {
		return rate.NewLimiter(g.limits.PerUser, g.limits.PerUserBurst)
	}).AllowN(now, 1)
}

func untilToken(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return max(time.Duration(missing/float64(l.Limit())*float64(time.Second)), time.Millisecond)
}

// ClientAddress is what sign-ins of a request are counted under: the peer's address, and for IPv6 its /64, which is what one
// customer has. Forwarding headers are not believed: anybody can send them.
func ClientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}
