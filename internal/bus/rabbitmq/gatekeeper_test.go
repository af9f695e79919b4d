package rabbitmq_test

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus/rabbitmq"
)

// TestManagementThatHangsUp: RabbitMQ's management ends connections that were idle for a while, and may do so just as something is asked.
func TestManagementThatHangsUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var mu sync.Mutex
	var asked []string
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = c.Close() }()
				for in := bufio.NewReader(c); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					mu.Lock()
					asked = append(asked, r.Method+" "+r.URL.Path)
					hangUp, over := len(asked) == 2, len(asked) == 3
					mu.Unlock()
					if hangUp {
						return
					}
					if _, err := c.Write([]byte("HTTP/1.1 204 No Content\r\n\r\n")); err != nil || over {
						return
					}
				}
			})
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	g := rabbitmq.NewGatekeeper(nil, rabbitmq.GateConfig{Management: "http://" + l.Addr().String()})
	require.NoError(t, g.Expel(t.Context(), "guest.a"))
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"DELETE /api/users/guest.a", "DELETE /api/connections/username/guest.a", "DELETE /api/connections/username/guest.a"}, asked)
}
