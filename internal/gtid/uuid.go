package gtid

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// UUID is a server's identity, @@server_uuid.
type UUID [16]byte

// ParseUUID reads a UUID: 32 hexadecimal digits in either case, or with its four dashes, or with dashes and in braces.
func ParseUUID(text string) (UUID, error) {
	var u UUID
	bare := text
	if n := len(text); n == 38 && text[0] == '{' && text[n-1] == '}' {
		bare = text[1 : n-1]
	}
	if len(bare) == 36 && bare[8] == '-' && bare[13] == '-' && bare[18] == '-' && bare[23] == '-' {
		bare = bare[:8] + bare[9:13] + bare[14:18] + bare[19:23] + bare[24:]
	} else if len(text) != 32 {
		return u, fmt.Errorf("%w: %.40q is no UUID", ErrMalformed, text)
	}
	if _, err := hex.Decode(u[:], []byte(bare)); err != nil {
		return UUID{}, fmt.Errorf("%w: %.40q is no UUID", ErrMalformed, text)
	}
	return u, nil
}

func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
