package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	w := newWorld(t)
	id := w.create(alice, mine, "first")
	require.NotEmpty(t, id)
	t.Log(w.call(alice, "GET", "/v1.0/"+mine+"/instances/"+id, "").text)
	t.Log(w.call(admin, "GET", "/v1.0/"+ops+"/mgmt/instances/"+id, "").text)
}
