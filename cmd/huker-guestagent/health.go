package main

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/paths"
)

// healthDeadline bounds the question: the supervisor answers at once.
const healthDeadline = 5 * time.Second

// state is what --health and --ready print, in the words of the other programs' /healthz and /readyz.
type state struct {
	Supervisor string `json:"supervisor"`
	Agent      string `json:"agent,omitempty"`
	Mysqld     string `json:"mysqld,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// tell asks the supervisor how the agent is, and mysqld if that is to be well too.
func tell(ctx context.Context, p paths.Paths, ready bool, out io.Writer) (well bool) {
	ctx, cancel := context.WithTimeout(ctx, healthDeadline)
	defer cancel()
	client := control.Dial(p.SupervisorSocket())
	defer client.Close()
	s := state{Supervisor: "ok"}
	switch st, err := client.Status(ctx); {
	case err != nil:
		s.Supervisor, s.Reason = "does not answer", err.Error()
	default:
		s, well = judge(st, ready)
	}
	_ = json.NewEncoder(out).Encode(s)
	return well
}

func judge(st control.Status, ready bool) (s state, well bool) {
	s = state{Supervisor: "ok", Agent: "ok", Mysqld: string(st.Mysqld.Phase)}
	well = true
	switch {
	case st.Agent.Pid == 0:
		s.Agent, s.Reason, well = "does not run", st.Agent.LastExit, false
	case !st.Agent.Ready && ready:
		s.Agent, well = "starting", false
	}
	if ready && st.Mysqld.Phase != control.Running {
		s.Reason, well = st.Mysqld.Reason, false
	}
	return s, well
}
