package etcd

import (
	"strings"

	"github.com/huker/huker/internal/coord"
)

// Namespaces in one etcd.
const (
	coordSpace = "c"
	busSpace   = "b"
)

// Range is a half-open range of etcd keys.
type Range struct{ From, To string }

func encode(key string) string { return coordSpace + strings.ReplaceAll(key, "/", " ") }

func decode(key []byte) string {
	return strings.ReplaceAll(strings.TrimPrefix(string(key), coordSpace), " ", "/")
}

// tree is key and all below it.
func tree(stored string) Range { return Range{From: stored, To: stored + "!"} }

// checkPrefix allows "/" (everything) besides keys.
func checkPrefix(prefix string) error {
	if prefix == "/" {
		return nil
	}
	return coord.CheckKey(prefix)
}

// below is all strictly below prefix.
func below(prefix string) Range {
	if prefix == "/" {
		prefix = ""
	}
	stored := encode(prefix)
	return Range{From: stored + " ", To: stored + "!"}
}

// within is prefix and all below it.
func within(prefix string) Range {
	if prefix == "/" {
		return below(prefix)
	}
	return tree(encode(prefix))
}

// QueueKey is where the bus keeps what it has of a queue: this key's tree, and nothing else.
func QueueKey(queue string) string { return busSpace + " " + queue }
