package keystone

import "github.com/huker/huker/internal/identity"

// ParseSignIn is what a body of POST /v3/auth/tokens goes through.
func ParseSignIn(body []byte) (identity.SignIn, error) {
	b, err := decodeBytes[authBody](body, "auth")
	if err != nil {
		return identity.SignIn{}, err
	}
	return signInOf(b)
}
