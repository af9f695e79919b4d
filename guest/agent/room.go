package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/protocol"
)

// How much room has to be left on the data volume's file system for clients to write. Below leastRoom, or a share of all of it where that is more, they are
// refused: MySQL that meets a full disk hangs in the middle of a commit, and what then does not fit is the way back. These must fit there: the transactions that
// are on their way when writes are stopped, and what comes between two looks (lookEvery) from a fast disk; relay logs that are to be applied; a new
// binary log with each start, temporary tables of reads, and the agent's own records.
const (
	leastRoom = 64 << 20
	roomShare = 50      // 2 %
	mostRoom  = 1 << 30 // what is enough of that on a large file system, which others may need
	// On a small one a guard must not be what takes the room away.
	smallShare = 8
	// reopenAt is how much more has to be free for writes to go on: what comes and goes, as a temporary table does, must not open and shut a database.
	reopenAt = 2
	// guardAgain is how long others may write before they are kept from it once more, where statements that go on kept that from taking effect.
	guardAgain = time.Second
)

func limitsOf(given *protocol.RoomLimits, size int64) protocol.RoomLimits {
	if given != nil && given.CloseBelow > 0 {
		return protocol.RoomLimits{CloseBelow: given.CloseBelow, OpenAbove: max(given.OpenAbove, given.CloseBelow)}
	}
	least := min(max(leastRoom, size/roomShare), mostRoom, size/smallShare)
	return protocol.RoomLimits{CloseBelow: least, OpenAbove: reopenAt * least}
}

// room watches how much is left where the data is. It is looked at by one goroutine at a time: that which looks at mysqld.
type room struct {
	dir     string
	given   *protocol.RoomLimits
	log     *slog.Logger
	measure func(dir string) (free, size int64, err error)

	now    failover.Room
	limits protocol.RoomLimits
	low    failover.Room // as it was when it became low
	since  time.Time     // then
	failed bool          // it could not be measured
}

// look measures.
func (r *room) look() failover.Room {
	free, size, err := r.measure(r.dir)
	if err != nil {
		if !r.failed {
			r.log.Warn("the room on the volume cannot be measured", "op", "room", "err", err)
		}
		r.failed = true
		return r.now
	}
	was := r.now
	r.failed, r.limits = false, limitsOf(r.given, size)
	r.now.Free, r.now.Size = free, size
	switch {
	case free < r.limits.CloseBelow:
		r.now.Low = true
	case free >= r.limits.OpenAbove:
		r.now.Low = false
	}
	r.now.Last = r.now.Low && free < r.limits.CloseBelow/2
	switch {
	case r.now.Low && !was.Low:
		r.low, r.since = r.now, time.Now()
		r.log.Warn("the disk is nearly full", "op", "room", "free", free, "size", size)
	case was.Low && !r.now.Low:
		r.log.Info("there is room on the disk again", "op", "room", "free", free, "size", size)
	}
	return r.now
}

// turned looks, and says whether something else is to be done than at the last look.
func (r *room) turned() bool {
	was := r.now
	now := r.look()
	return was.Low != now.Low || was.Last != now.Last
}

// What it means that there is no room.
const deafness = "it receives nothing from its primary"

func refusal(guarded bool) string {
	if guarded {
		return "it takes no writes (clients get MySQL's error 1290) and can be read from"
	}
	return "its writes are to be stopped, and statements that write go on"
}

// notice says what it means that there is no room, to a database's user; empty: there is. Its words stay the same until that changes.
func (r *room) notice(means string) string {
	if !r.now.Low || means == refusal(false) && time.Since(r.since) < guardAgain { // it takes a moment
		return ""
	}
	return fmt.Sprintf("its disk is nearly full (%d of %d MiB were left), so %s; it goes on by itself when %d MiB are free: make room on its host, or delete a database",
		r.low.Free>>20, r.low.Size>>20, means, r.limits.OpenAbove>>20)
}

func measureRoom(dir string) (free, size int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil // #nosec G115 -- file systems are smaller than 8 EiB
}

// guard has a database that is alone take no writes, for want of room. Where statements that write keep that from taking effect, it stays open, and is to be
// guarded again after a while; but when the last of the room goes, its clients go first.
func (a *Agent) guard(ctx context.Context, server *admin.Server, st admin.State) (admin.State, error) {
	last := a.room.now.Last
	if !last && st.Open() && time.Since(a.guardHeld) < guardAgain {
		return st, nil
	}
	now, err := server.Guard(ctx, last)
	if err == nil {
		a.log.Warn("the database takes no writes", "op", "gate.guard", "free", a.room.now.Free)
		return now, nil
	}
	if !last && st.Open() && errors.Is(err, admin.ErrNotReady) && ctx.Err() == nil {
		a.guardHeld = time.Now()
		a.log.Warn("clients are not kept from writing yet", "op", "gate.guard", "free", a.room.now.Free, "err", err)
		return st, nil
	}
	return now, err
}
