package supervisor

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// lookAgain is between attempts to find mysqld's socket while it starts.
const lookAgain = 10 * time.Millisecond

// waitAnswer waits until a server greets at socket. mysqld makes its socket early and greets when it is ready, so the wait is in the read, and
// ends in the moment in which a client would be answered.
func waitAnswer(ctx context.Context, socket string) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		if greeted(ctx, socket) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func greeted(ctx context.Context, socket string) bool {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer func() {
		stop()
		_ = c.Close() // nothing was written
	}()
	// A packet's header and its first byte: the protocol's version, or 0xff for an error, which is an answer as well (too many connections).
	var head [5]byte
	_, err = io.ReadFull(c, head[:])
	return err == nil && !errors.Is(ctx.Err(), context.Canceled)
}
