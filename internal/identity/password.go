package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// MaxPassword is the longest password in bytes, as in Keystone.
const MaxPassword = 4096

// Params are argon2id's costs.
type Params struct {
	MemoryKiB uint32
	Time      uint32
	Threads   uint8
}

// DefaultParams take about 50 ms on one core of a small server: above OWASP's minimum (19 MiB, 2 passes), and small
// enough that two at a time fit everywhere.
var defaultParams = Params{MemoryKiB: 32 << 10, Time: 2, Threads: 1}

// Bounds of what is accepted from the store, so that a damaged row cannot take the memory or the processor.
const (
	maxMemoryKiB = 1 << 20
	maxTime      = 64
	maxThreads   = 16
	minSaltLen   = 8
	maxSaltLen   = 64
	minKeyLen    = 16
	maxKeyLen    = 64

	saltLen = 16
	keyLen  = 32
)

func (p Params) valid() bool {
	return p.Threads >= 1 && p.Threads <= maxThreads && p.Time >= 1 && p.Time <= maxTime &&
		p.MemoryKiB >= 8*uint32(p.Threads) && p.MemoryKiB <= maxMemoryKiB
}

// phc is a hash in the PHC string format: $argon2id$v=19$m=32768,t=2,p=1$salt$key
type phc struct {
	Params
	salt, key []byte
}

var errPHC = errors.New("not an argon2id hash in the PHC string format")

// parsePHC reads what String wrote. It accepts exactly one spelling of each hash.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return phc{}, errPHC
	}
	var h phc
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return phc{}, errPHC
	}
	var values [3]uint64
	for i, prefix := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(costs[i], prefix)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || strconv.FormatUint(v, 10) != digits {
			return phc{}, errPHC
		}
		values[i] = v
	}
	if values[2] > maxThreads {
		return phc{}, errPHC
	}
	h.Params = Params{MemoryKiB: uint32(values[0]), Time: uint32(values[1]), Threads: uint8(values[2])} //nolint:gosec // parsed as 32 bits, and threads compared above
	enc := base64.RawStdEncoding.Strict()
	var err error
	if h.salt, err = enc.DecodeString(parts[4]); err != nil {
		return phc{}, errPHC
	}
	if h.key, err = enc.DecodeString(parts[5]); err != nil {
		return phc{}, errPHC
	}
	if !h.valid() || len(h.salt) < minSaltLen || len(h.salt) > maxSaltLen || len(h.key) < minKeyLen || len(h.key) > maxKeyLen {
		return phc{}, errPHC
	}
	if h.String() != s { // base64 ignores line breaks, even when strict
		return phc{}, errPHC
	}
	return h, nil
}

// String gives the PHC string.
func (h phc) String() string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", h.MemoryKiB, h.Time, h.Threads,
		enc.EncodeToString(h.salt), enc.EncodeToString(h.key))
}

// hasher makes and checks hashes, so many at a time and so many waiting: whoever floods the sign-in is refused instead
// of taking the memory.
type hasher struct {
	params  Params
	slots   chan struct{}
	waiting chan struct{}
	decoy   phc // compared with when there is no such account, so that this takes the same time
}

func newHasher(p Params, concurrency, queue int) (*hasher, error) {
	if !p.valid() {
		return nil, fmt.Errorf("identity: argon2id parameters out of range: %+v", p)
	}
	h := &hasher{params: p, slots: make(chan struct{}, concurrency), waiting: make(chan struct{}, concurrency+queue)}
	h.decoy = phc{Params: p, salt: make([]byte, saltLen), key: make([]byte, keyLen)}
	if _, err := rand.Read(h.decoy.salt); err != nil {
		return nil, err
	}
	_, err := rand.Read(h.decoy.key)
	return h, err
}

// enter waits for a slot; the caller must call leave when there is no error.
func (h *hasher) enter(ctx context.Context) error {
	select {
	case h.waiting <- struct{}{}:
	default:
		return fmt.Errorf("%w: too many sign-ins at once", ErrUnavailable)
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-h.waiting
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

func (h *hasher) leave() {
	<-h.slots
	<-h.waiting
}

// hash makes the PHC string of a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	return h.hashNow(password)
}

func (h *hasher) hashNow(password string) (string, error) {
	out := phc{Params: h.params, salt: make([]byte, saltLen)}
	if _, err := rand.Read(out.salt); err != nil {
		return "", err
	}
	out.key = argon2.IDKey([]byte(password), out.salt, out.Time, out.MemoryKiB, out.Threads, keyLen)
	return out.String(), nil
}

// verifyNow compares a password with a hash, or with the decoy when the hash is none; it takes the same time either way. A
// slot must be held. rehash says that the password is right but was hashed with other costs than today's.
func (h *hasher) verifyNow(encoded, password string) (ok, rehash bool) {
	want, err := parsePHC(encoded)
	if err != nil {
		want = h.decoy
	}
	got := argon2.IDKey([]byte(password), want.salt, want.Time, want.MemoryKiB, want.Threads, uint32(len(want.key))) //nolint:gosec // at most maxKeyLen
	same := subtle.ConstantTimeCompare(got, want.key) == 1
	ok = same && err == nil
	return ok, ok && want.Params != h.params
}

// CheckPassword says whether a password may be set.
func CheckPassword(password string) error {
	switch {
	case password == "":
		return refuse(ErrInvalid, "the password must not be empty")
	case len(password) > MaxPassword:
		return refuse(ErrInvalid, "the password must not be longer than %d bytes", MaxPassword)
	case !utf8.ValidString(password):
		return refuse(ErrInvalid, "the password must be UTF-8")
	}
	return nil
}
