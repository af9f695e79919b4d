package zk

import (
	"encoding/hex"
	"strings"

	"github.com/huker/huker/internal/coord"
)

// Names of nodes that are not parts of keys.
const (
	valueName  = " value"
	markerName = " made-" // and the nonce
	keptName   = " kept"  // keeps the directory of an admitted prefix from being removed when it is empty
)

// layout is where things are.
type layout struct{ root string }

func newLayout(root string) layout {
	root = strings.Trim(root, "/")
	if root == "" {
		return layout{root: DefaultRoot}
	}
	return layout{root: "/" + root}
}

// keys is the directory of all keys.
func (l layout) keys() string { return l.root + "/keys" }

// principals holds a node for each principal.
func (l layout) principals() string { return l.root + "/principals" }

func (l layout) principal(name string) string { return l.principals() + "/" + name }

// dir is the directory of a key, or of a prefix, which may be "/".
func (l layout) dir(key string) string {
	if key == "/" {
		return l.keys()
	}
	return l.keys() + key
}

// key is the key of a directory.
func (l layout) key(dir string) string {
	if dir == l.keys() {
		return "/"
	}
	return dir[len(l.keys()):]
}

func valuePath(dir string) string { return dir + "/" + valueName }

func markerPath(dir, nonce string) string { return dir + "/" + markerName + nonce }

func keptPath(dir string) string { return dir + "/" + keptName }

// reserved tells nodes of this package from parts of keys.
func reserved(name string) bool { return strings.HasPrefix(name, " ") }

func parent(path string) string { return path[:max(strings.LastIndexByte(path, '/'), 1)] }

// within tells whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir) && path[len(dir)] == '/'
}

// checkPrefix allows "/" (everything) besides keys.
func checkPrefix(prefix string) error {
	if prefix == "/" {
		return nil
	}
	return coord.CheckKey(prefix)
}

// A value is stored behind a header: its format, and the nonce of its key's creation.
const (
	valueFormat = 1
	nonceSize   = 8
	headerSize  = 1 + nonceSize
)

func encodeValue(nonce string, value []byte) []byte {
	raw, err := hex.DecodeString(nonce)
	data := make([]byte, headerSize, headerSize+len(value))
	data[0] = valueFormat
	if err == nil {
		copy(data[1:], raw)
	}
	return append(data, value...)
}

// decodeValue gives the nonce and the value. What was written by others than this package has no nonce: it is shown as it is, and can be
// replaced and deleted.
func decodeValue(data []byte) (nonce string, value []byte) {
	if len(data) < headerSize || data[0] != valueFormat {
		return "", data
	}
	if raw := data[1:headerSize]; string(raw) != string(make([]byte, nonceSize)) {
		nonce = hex.EncodeToString(raw)
	}
	return nonce, data[headerSize:]
}
