package model

// Bounds of the simulation itself: everything is in fixed arrays, so that a state can be compared and hashed as it is.
const (
	maxMembers = 5
	maxTrx     = 4
)

// set is transactions, or members: bit k is number k. Transactions are numbered in the order in which they were written, anywhere.
type set uint8

func one(k int) set             { return 1 << k }
func (s set) has(k int) bool    { return s>>k&1 == 1 }
func (s set) holds(o set) bool  { return s&o == o }
func (s set) minus(o set) set   { return s &^ o }
func (s set) count() (n int)    { return int(ones[s]) }
func (s set) lowest() (k int)   { return int(first[s]) }
func (s set) upTo(k int) set    { return s & (one(k)<<1 - 1) }
func (s set) without(k int) set { return s &^ one(k) }

var ones, first = func() (n, f [256]uint8) {
	for s := range 256 {
		for k := 7; k >= 0; k-- {
			if s>>k&1 == 1 {
				n[s]++
				f[s] = uint8(k)
			}
		}
	}
	return n, f
}()

type recvState uint8

const (
	recvStopped recvState = iota
	recvConnecting
	recvRunning
)

// nobody is a member that there is not.
const nobody = 0xff

// member is a server with its agent.
type member struct {
	// On disk.
	rec    uint16 // the newest record that the agent knows; 0: none
	inc    uint8  // which server it is: raised when its data is lost or rebuilt
	boot   uint8  // which boot of its machine, where it matters
	logged set    // in the binlog; of a primary, what is not executed waits for acknowledgements
	exec   set    // executed: committed in the engine
	relay  set    // received, applied or not
	src    uint8  // whom the receiver is pointed at
	admit  set    // whose replication accounts are open
	full   bool   // nearly: there is room for nothing but what is under way

	// In memory.
	up      bool
	offline bool
	writes  bool
	guarded bool // clients are refused
	semi    bool
	acks    uint8
	recv    recvState
	latch   bool   // the receiver acknowledges
	cut     bool   // it does not reach its source now
	sealed  uint16 // the record under whose terms it has sealed; 0: none
	served  bool   // it has sealed once
	shown   set    // what clients could read before it was shut
	sealing uint16 // the record under which a sealing transaction waits; 0: none
	proving set    // what was in the binlog before it
	ackBy   [maxTrx]set
}

func (m *member) has() set     { return m.exec | m.relay }
func (m *member) open() bool   { return m.up && m.writes && !m.offline }
func (m *member) waiting() set { return m.logged.minus(m.exec) }

// snap is what an agent says of its server, and what it does next depends on.
type snap struct {
	rec, sealed, sealing           uint16
	inc, boot, src, acks           uint8
	logged, exec, relay            set
	admit, attached                set
	recv                           recvState
	offline, writes, semi, latched bool
	served, full, guarded          bool
}

// manager is what nodekeeper knows, or believes. When it decides, it reads the record and looks at everybody; but of some members it may have heard long ago,
// and nothing since. Several nodekeepers, of which some wake up late, are no more than that: what only an old one knows is an old view.
type manager struct {
	seen [maxMembers]uint16 // what was heard of a member before it changed, interned; 0: it is looked at anew
	lost set                // members that are well, and from whom nothing is heard
}

// state is all of it.
type state struct {
	cur   uint16 // the record in coordination
	m     [maxMembers]member
	mgr   manager
	acked set // what some client was told is committed, or could read
	trx   uint8
	// Orders to rebuild that were sent and may arrive at any time: under which record, from whom.
	rebuild [maxMembers]rebuildOrder
	left    budget
}

type rebuildOrder struct {
	rec        uint16 // 0: none
	donor, inc uint8
}

// budget is what may still go wrong.
type budget struct {
	crash, cut, doubt, kill, wipe, fill uint8
}
