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

// Registered gives the ids of all calls by method and path.
func (h *Handler) Registered() map[string]string {
	out := map[string]string{}
	for pattern, rt := range h.routes() {
		method, path := pathOf(pattern)
		out[method+" "+path] = rt.id
	}
	return out
}
