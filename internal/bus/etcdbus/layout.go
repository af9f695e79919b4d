package etcdbus

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord/etcd"
)

// Kinds of key in a queue. A server's watch spans claim to entry.
const (
	kindBody  = "b"
	kindClaim = "c"
	kindCount = "d"
	kindEntry = "e"
	kindReply = "r"
	kindDead  = "x"
)

// queueKeys gives the keys of one queue.
type queueKeys struct{ base string }

func keysOf(queue string) queueKeys { return queueKeys{base: etcd.QueueKey(queue)} }

func (q queueKeys) key(kind, id string) string { return q.base + " " + kind + " " + id }

func (q queueKeys) all(kind string) etcd.Range {
	return etcd.Range{From: q.base + " " + kind + " ", To: q.base + " " + kind + "!"}
}

// everything is the queue as a whole.
func (q queueKeys) everything() etcd.Range { return etcd.Range{From: q.base + " ", To: q.base + "!"} }

// watched is what servers follow.
func (q queueKeys) watched() etcd.Range {
	return etcd.Range{From: q.all(kindClaim).From, To: q.all(kindEntry).To}
}

// split is the reverse of key.
func (q queueKeys) split(key []byte) (kind, id string) {
	kind, id, _ = strings.Cut(strings.TrimPrefix(string(key), q.base+" "), " ")
	return kind, id
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9._:-]+$`)

// keyID is an id as a part of a key.
func keyID(id string) string {
	if plainID.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "~" + hex.EncodeToString(sum[:])
}

// envelope precedes a body, as a line of JSON.
type envelope struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"`
	Call     bool      `json:"call,omitempty"`
	// Of dead letters.
	Delivery int    `json:"delivery,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// answer precedes a reply's body.
type answer struct {
	Failed  bool   `json:"failed,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// count is how often a message was delivered, and the pause before the next delivery. It is a duration and not a time, because
// clocks of hosts differ: each server counts from when it hears of it.
type count struct {
	Deliveries int           `json:"n"`
	Pause      time.Duration `json:"pause,omitempty"`
}

var errMalformed = errors.New("malformed message")

// seal puts a header before a body; the header is one of the types above, which always encode.
func seal(header any, body []byte) (string, error) {
	line, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("encode message: %w", err)
	}
	return string(line) + "\n" + string(body), nil
}

// unseal is the reverse; what it is given may come from a hostile guest.
func unseal(stored []byte, header any) (body []byte, err error) {
	line, body, ok := bytes.Cut(stored, []byte("\n"))
	if !ok {
		return nil, errMalformed
	}
	if err := json.Unmarshal(line, header); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return body, nil
}

func (e envelope) message(body []byte, delivery int) bus.Message {
	return bus.Message{ID: e.ID, Kind: e.Kind, Body: body, Deadline: e.Deadline, Delivery: delivery}
}
