package api

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// LiveMembersBody is a cluster's members as they are at this moment.
type LiveMembersBody struct {
	Members []LiveMember `json:"members" doc:"Oldest first"`
}

// LiveMember is a member by the word of its own agent. What is below reachable is absent where it did not answer in time.
type LiveMember struct {
	ID        string        `json:"id"`
	Name      string        `json:"name"`
	Role      string        `json:"role,omitempty" enum:"primary,replica"`
	Status    string        `json:"status"`
	Host      string        `json:"host,omitempty"`
	Container string        `json:"container,omitempty" doc:"What its container's name ends in"`
	Address   string        `json:"address,omitempty"`
	Reachable bool          `json:"reachable"`
	Error     string        `json:"error,omitempty" doc:"Why it is not"`
	Epoch     int64         `json:"epoch,omitempty" doc:"The newest that its agent goes by"`
	Mysqld    string        `json:"mysqld,omitempty" enum:"preparing,starting,serving,locked,stopping,stopped,failed"`
	Server    string        `json:"server,omitempty" doc:"Its server_uuid"`
	Fault     string        `json:"fault,omitempty"`
	Notice    string        `json:"notice,omitempty" doc:"What is to be known of it though it serves: its disk is nearly full"`
	Open      bool          `json:"open,omitempty" doc:"It serves clients as the primary: they can write to it"`
	Guarded   bool          `json:"guarded,omitempty" doc:"It is open, and refuses writes, as its disk is nearly full"`
	Executed  string        `json:"gtid_executed,omitempty"`
	Retrieved string        `json:"gtid_retrieved,omitempty"`
	Lag       *float64      `json:"lag,omitempty" doc:"Seconds that it is behind; absent where that is not known, and of the primary"`
	Receiver  *LiveReceiver `json:"receiver,omitempty" doc:"Of a replica"`
	Serving   *LivePrimary  `json:"serving,omitempty" doc:"Of the primary"`
	Rebuild   bool          `json:"rebuilding,omitempty" doc:"Its data is being replaced by a clone of another's"`
	Turning   bool          `json:"turning,omitempty" doc:"It knows of a change of primary that is under way"`
	Applier   string        `json:"applier_fault,omitempty" doc:"Why it does not apply what it receives"`
}

// LiveReceiver is how a member replicates.
type LiveReceiver struct {
	State        string  `json:"state" enum:"stopped,connecting,running"`
	Source       string  `json:"source,omitempty" doc:"The instance that it is pointed at"`
	Acknowledges bool    `json:"acknowledges"`
	HeardAgoMS   float64 `json:"heard_ago_ms" doc:"Since it last heard of its source"`
	Broken       string  `json:"broken,omitempty" doc:"Why it cannot go on by itself"`
}

// LivePrimary is the primary's side of replication.
type LivePrimary struct {
	MinAcks  int      `json:"min_acks" doc:"What it waits for now; 0 also where it does not wait at all"`
	Attached []string `json:"attached" doc:"Members that acknowledge"`
	Waiting  int      `json:"waiting" doc:"Sessions that wait for an acknowledgement"`
}

// memberTimeout is how long an agent's answer is waited for: it reads a few variables.
const memberTimeout = 2 * time.Second

func (s *server) memberRoutes(t *table) {
	on(t, spec{method: http.MethodGet, path: "clusters/{cluster}/members", id: "listClusterMembers", tag: "extensions",
		summary: "Ask each member of a cluster how it does, at this moment (Huker's own)", status: http.StatusOK}, s.liveMembers)
}

func (s *server) liveMembers(ctx context.Context, r *request, _ *none) (*LiveMembersBody, error) {
	var k *kin
	err := s.Store.View(ctx, func(tx metastore.Tx) (err error) {
		k, err = r.loadCluster(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	body := &LiveMembersBody{Members: make([]LiveMember, len(k.members))}
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for i := range k.members {
		asked.Go(func() { body.Members[i] = s.live(ctx, k, &k.members[i]) })
	}
	asked.Wait()
	return body, nil
}

// live asks one member.
func (s *server) live(ctx context.Context, k *kin, m *model.Instance) LiveMember {
	status, _ := k.shown(m)
	v := LiveMember{ID: m.ID, Name: m.Name, Role: string(m.Role), Status: string(status), Host: m.HostID, Address: m.Address}
	if m.HostID == "" {
		v.Error = "it has no place yet"
		return v
	}
	v.Container = "db-" + m.ID
	g, err := s.Guests.Status(ctx, m.ID)
	if err != nil {
		v.Error = silence(err)
		return v
	}
	v.Reachable, v.Epoch, v.Mysqld, v.Server, v.Fault, v.Turning = true, g.Epoch, g.Mysqld.State, g.Mysqld.UUID, g.Fault, g.Turning
	v.Notice = g.Notice
	p := g.Part
	if p == nil {
		return v
	}
	v.Guarded = p.Guarded
	v.Open, v.Executed, v.Retrieved, v.Rebuild, v.Applier = p.Open(), p.Executed.String(), p.Retrieved.String(), p.Rebuilding, p.Applier
	if m.ID == k.cluster.PrimaryID {
		v.Serving = &LivePrimary{Attached: append([]string{}, p.Serving.Attached...), Waiting: p.Serving.Waiting}
		if p.Serving.SemiSync {
			v.Serving.MinAcks = p.Serving.Acks
		}
		return v
	}
	if p.Receiver.State != "" {
		v.Receiver = &LiveReceiver{State: string(p.Receiver.State), Source: p.Receiver.Source, Acknowledges: p.Receiver.Acknowledges,
			HeardAgoMS: milliseconds(p.Receiver.HeardAgo), Broken: p.Receiver.Broken}
	}
	if g.Lag >= 0 {
		v.Lag = ptr(milliseconds(g.Lag) / 1e3)
	}
	return v
}

// silence says why an agent did not answer, without the words of the bus.
func silence(err error) string {
	var ce *bus.CallError
	switch {
	case errors.As(err, &ce) && ce.Code == protocol.CodeNotReady:
		return ce.Message
	case errors.As(err, &ce):
		return "its agent could not say"
	case errors.Is(err, bus.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return "its agent did not answer within " + memberTimeout.String()
	case errors.Is(err, bus.ErrUnavailable):
		return "its agent cannot be reached: the bus is away"
	}
	return "its agent did not answer"
}
