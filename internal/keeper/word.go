package keeper

import (
	"time"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/protocol"
)

// word is what a guest in a cluster said last. It is kept when its agent is gone: that a receiver stands, for one, still holds.
type word struct {
	status protocol.GuestStatus
	seen   time.Time // when it came in
	asked  time.Time // when it was asked for; zero: it was told unasked
	lost   bool      // its session has ended since
	asking time.Time // when it was asked what it has not answered yet, nor has that come to nothing; zero: no question is under way
	owes   time.Time // when it was asked the first of those that it has not answered
}

// storedRecord is a cluster's record as coordination has it.
type storedRecord struct {
	durability.Record
	revision coord.Revision
	broken   error // why it cannot be gone by; Record is empty then
}

// say takes a guest's word in, unless a newer one of the same agent is there. The caller holds mu.
func (v *view) say(instance string, s protocol.GuestStatus, asked time.Time) {
	w := v.words[instance]
	w.lost = false
	if s.Part == nil {
		delete(v.words, instance)
		return
	}
	if w.status.Part == nil || !w.status.AgentSince.Equal(s.AgentSince) || s.Serial > w.status.Serial {
		w.status, w.seen, w.asked, w.owes = s, v.now(), asked, time.Time{}
	}
	v.words[instance] = w
}

// lost notes that a guest's session has ended. The caller holds mu.
func (v *view) lost(instance string) {
	if w, ok := v.words[instance]; ok {
		w.lost = true
		v.words[instance] = w
	}
}

func (v *view) allLost() {
	for id := range v.words {
		v.lost(id)
	}
}

// look notes that a guest is being asked; false when it is already.
func (v *view) look(instance string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.words[instance]
	if !w.asking.IsZero() {
		return false
	}
	w.asking = v.now()
	if w.owes.IsZero() {
		w.owes = w.asking
	}
	v.words[instance] = w
	return true
}

// looked takes in what came of it: the answer, or nil. An answer is a sign of life even where the agent's session has ended.
func (v *view) looked(instance string, s *protocol.GuestStatus) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.words[instance]
	asked := w.asking
	w.asking = time.Time{}
	if s != nil {
		w.owes = time.Time{}
	}
	v.words[instance] = w
	if s != nil {
		v.say(instance, *s, asked)
	}
}

// word gives a guest's newest word, and when its agent last gave a sign of life: now, while its session is up and it owes no answer.
func (v *view) word(instance string) (w word, heard time.Time) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	w = v.words[instance]
	// Who spoke last before its container fell is dead, though its session lasts for a while, and though Docker may have started the container again already.
	w.lost = w.lost || w.seen.Before(v.fell[instance])
	_, alive := v.guests[instance]
	switch {
	case alive && w.owes.IsZero():
		heard = v.now()
	case alive:
		heard = w.owes
	}
	return w, heard
}

// forgetWord is of an instance that is gone.
func (v *view) forgetWord(instance string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.words, instance)
	delete(v.fell, instance)
}

func (v *view) applyRecord(cluster string, e *coord.Entry) {
	v.mu.Lock()
	if e == nil {
		delete(v.records, cluster)
	} else {
		v.keepRecord(cluster, e)
	}
	v.mu.Unlock()
	v.changed(cluster)
}

// keepRecord takes in what coordination has. The caller holds mu.
func (v *view) keepRecord(cluster string, e *coord.Entry) {
	r, err := durability.Parse(e.Value)
	if err == nil && r.Epoch < v.records[cluster].Epoch {
		return // the watch is behind what was written
	}
	v.records[cluster] = storedRecord{Record: r, revision: e.Revision, broken: err}
}

func (v *view) setRecord(cluster string, e *coord.Entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keepRecord(cluster, e)
}

func (v *view) record(cluster string) (storedRecord, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	r, ok := v.records[cluster]
	return r, ok
}

// host says what is known of an instance's container and host.
func (v *view) hostOf(host, instance string) (alive bool, c *protocol.ContainerStatus) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, alive = v.hosts[host]
	if s, ok := v.containers[host][instance]; ok {
		c = &s
	}
	return alive, c
}
