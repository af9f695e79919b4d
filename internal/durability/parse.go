package durability

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Parse reads a record. One with a field that is not known is refused, with ErrInvalid: it is from a newer version, and to go by half of it
// would be to go by another one.
func Parse(text []byte) (Record, error) {
	var r Record
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Record{}, fmt.Errorf("%w: there is more after it", ErrInvalid)
	}
	if err := r.Validate(); err != nil {
		return Record{}, err
	}
	return r, nil
}

// Text is what Parse reads. The error is that the record is not valid: such a one is not to be written.
func (r Record) Text() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write the record of %s: %w", r.Cluster, err)
	}
	return text, nil
}
