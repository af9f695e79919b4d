package api

import (
	"context"
	"net/http"
	"time"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// ClusterDoBody is one of Huker's own things to do with a cluster.
type ClusterDoBody struct {
	Switchover *SwitchoverWish `json:"switchover,omitempty" doc:"Makes another member the primary; the old one finishes first, and nothing is lost"`
	Failover   *FailoverWish   `json:"failover,omitempty" doc:"Gives the primary up, whether it answers or not, and makes another member the primary"`
}

// SwitchoverWish says who is to be the primary.
type SwitchoverWish struct {
	To      string `json:"to,omitempty" maxLength:"255" doc:"A member's id or name; left out: whoever fits best"`
	Timeout *Count `json:"timeout,omitempty" doc:"Seconds after which the old primary opens again, if it did not come about: 1 to 3600; 30 by default"`
}

// FailoverWish says who is to be the primary.
type FailoverWish struct {
	To string `json:"to,omitempty" maxLength:"255" doc:"A member's id or name. Another one is taken where that one lacks something"`
}

// HistoryBody is a cluster's changes of primary, newest first.
type HistoryBody struct {
	History []TurnView `json:"history"`
}

// TurnView is a change of primary that is over.
type TurnView struct {
	Epoch    int64       `json:"epoch" doc:"Of the record that ended it"`
	Kind     string      `json:"kind" enum:"failover,switchover,back" doc:"back: it did not come about"`
	From     string      `json:"from" doc:"An instance's id"`
	FromName string      `json:"from_name" doc:"Its name, or its id when it is gone"`
	To       string      `json:"to"`
	ToName   string      `json:"to_name"`
	Reason   string      `json:"reason"`
	Seen     []string    `json:"seen" doc:"What was known when it was begun"`
	Began    Moment      `json:"began"`
	Phases   []PhaseView `json:"phases"`
	GapMS    float64     `json:"gap_ms" doc:"From what was noticed to the new primary's opening, in milliseconds"`
}

// PhaseView is a part of it.
type PhaseView struct {
	Name   string  `json:"name"`
	TookMS float64 `json:"took_ms"`
	Note   string  `json:"note,omitempty"`
}

func (s *server) switchoverRoutes(t *table) {
	on(t, spec{method: http.MethodPost, path: "clusters/{cluster}/action", id: "actOnClusterPrimary", tag: "extensions",
		summary: "Change a cluster's primary (Huker's own)", status: http.StatusAccepted, errs: []int{http.StatusUnprocessableEntity}}, s.doWithCluster)
	on(t, spec{method: http.MethodGet, path: "clusters/{cluster}/history", id: "listClusterHistory", tag: "extensions",
		summary: "Show a cluster's changes of primary, newest first (Huker's own)", status: http.StatusOK, errs: []int{http.StatusBadRequest},
		query: []param{{"limit", "integer", "Only so many of the newest; at most 1000."}}}, s.clusterHistory)
}

func (s *server) doWithCluster(ctx context.Context, r *request, in *ClusterDoBody) (*ClusterBody, error) {
	if (in.Switchover == nil) == (in.Failover == nil) {
		return nil, badRequest("Exactly one action must be given.")
	}
	return s.changeCluster(ctx, r, originSwitchover, func(_ metastore.Tx, k *kin) error {
		if err := k.there(); err != nil {
			return err
		}
		turn, ref := model.Switchover{Dead: true, Timeout: failoverTimeout}, ""
		if in.Failover != nil {
			ref = in.Failover.To
		} else {
			timeout, err := in.Switchover.timeout()
			if err != nil {
				return err
			}
			turn, ref = model.Switchover{Timeout: timeout}, in.Switchover.To
		}
		if ref != "" {
			to := k.find(ref)
			switch {
			case to == nil:
				return notFound("Cluster %s has no member %s.", k.cluster.ID, clip(ref))
			case to.Desired == model.DesiredDeleted || to.Detaching:
				return badRequest("Member %s is leaving the cluster.", to.Name)
			case to.ID == k.cluster.PrimaryID:
				return badRequest("Member %s is the primary already.", to.Name)
			}
			turn.To = to.ID
		}
		return s.askForTurn(k, r, turn)
	})
}

func (w *SwitchoverWish) timeout() (time.Duration, error) {
	if w.Timeout == nil {
		return switchoverTimeout, nil
	}
	if *w.Timeout < 1 || *w.Timeout > 3600 {
		return 0, badRequest("Validation error: switchover.timeout must be 1 to 3600 seconds.")
	}
	return time.Duration(*w.Timeout) * time.Second, nil
}

// askForTurn puts the wish for another primary into the cluster's row. A failover may take the place of a switchover that is under way: what it waits for
// may have died.
func (s *server) askForTurn(k *kin, r *request, turn model.Switchover) error {
	c := &k.cluster
	before := k.turning()
	switch {
	case c.PrimaryID == "":
		return unprocessable("Cluster %s is not ready: it has no primary yet.", c.ID)
	case before != nil && (!turn.Dead || before.Dead):
		return unprocessable("Cluster %s is not ready: another change of its primary, asked for at %s, is not over.", c.ID, before.Asked.Format(timeLayout))
	case len(k.staying()) < 2:
		return badRequest("There is no other member that could become the primary.")
	}
	turn.From, turn.Asked, turn.Serial = c.PrimaryID, s.now(), 1
	if c.Switchover != nil {
		turn.Serial = c.Switchover.Serial + 1
	}
	c.Switchover = &turn
	to := "whoever fits best"
	if turn.To != "" {
		to = k.name(turn.To)
	}
	k.note = note{"cluster.switchover.requested", "A switchover from " + k.name(turn.From) + " to " + to + " was asked for by " + r.who() + "."}
	if turn.Dead {
		k.note = note{"cluster.failover.requested", "That " + k.name(turn.From) + " is given up for " + to + " was asked for by " + r.who() + "."}
	}
	return nil
}

// writeTurn stores what askForTurn has asked for.
func (s *server) writeTurn(ctx context.Context, tx metastore.Tx, r *request, k *kin) error {
	k.cluster.Updated = s.now()
	if err := tx.Clusters().Update(ctx, &k.cluster); err != nil {
		return err
	}
	return s.recordCluster(ctx, tx, r, &k.cluster, k.note)
}

func (s *server) clusterHistory(ctx context.Context, r *request, _ *none) (*HistoryBody, error) {
	limit, _, err := r.page(maxEvents)
	if err != nil {
		return nil, err
	}
	body := &HistoryBody{History: []TurnView{}}
	err = s.Store.View(ctx, func(tx metastore.Tx) error {
		k, err := r.loadCluster(ctx, tx)
		if err != nil {
			return err
		}
		turns, err := tx.Clusters().Turns(ctx, k.cluster.ID, limit)
		for i := range turns {
			body.History = append(body.History, turnView(k, &turns[i]))
		}
		return err
	})
	return body, err
}

func turnView(k *kin, t *model.Turn) TurnView {
	v := TurnView{
		Epoch: t.Epoch, Kind: t.Kind, From: t.From, FromName: k.name(t.From), To: t.To, ToName: k.name(t.To), Reason: t.Reason, Seen: append([]string{}, t.Seen...),
		Began: Moment{t.Began}, Phases: make([]PhaseView, 0, len(t.Phases)), GapMS: milliseconds(t.Gap),
	}
	for _, p := range t.Phases {
		v.Phases = append(v.Phases, PhaseView{Name: p.Name, TookMS: milliseconds(p.Took), Note: p.Note})
	}
	return v
}

// milliseconds are to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
