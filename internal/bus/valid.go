package bus

import (
	"errors"
	"fmt"
	"regexp"
)

// ErrInvalid means that the request breaks the contract: a bad queue name, a call without a deadline. It never succeeds.
var ErrInvalid = errors.New("bus: invalid request")

// maxName bounds queue names, kinds and ids: they become parts of keys and headers.
const maxName = 128

var queueName = regexp.MustCompile(`^[a-z0-9.-]+$`)

// CheckQueue tells why name is no queue's.
func CheckQueue(name string) error {
	if len(name) > maxName || !queueName.MatchString(name) {
		return fmt.Errorf("%w: queue name %q", ErrInvalid, name)
	}
	return nil
}

// CheckMessage tells why m cannot be sent.
func CheckMessage(m Message) error {
	if len(m.Body) > MaxBody {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(m.Body))
	}
	if len(m.ID) > maxName || len(m.Kind) > maxName {
		return fmt.Errorf("%w: id or kind is longer than %d bytes", ErrInvalid, maxName)
	}
	return nil
}
