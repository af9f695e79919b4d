package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxDepth is far beyond any body of this API.
const maxDepth = 32

// errNoBody means that there was nothing to decode.
var errNoBody = errors.New("no body")

// parseJSON reads one JSON value. Unlike encoding/json it refuses what two readers could understand differently: names given
// twice, text after the value, bytes that are no UTF-8; and what nests deeper than anything here does. Errors quote no values.
func parseJSON(text []byte) (any, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errNoBody
	}
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := parseValue(d, nil)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after its end")
	}
	return v, nil
}

func parseValue(d *json.Decoder, path []string) (any, error) {
	if len(path) > maxDepth {
		return nil, fmt.Errorf("it nests deeper than %d levels", maxDepth)
	}
	tok, err := d.Token()
	if err != nil {
		return nil, syntax(err)
	}
	switch tok {
	case json.Delim('{'):
		return parseObject(d, path)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := parseValue(d, append(path, "[]"))
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, syntax(err)
	}
	return tok, nil
}

func parseObject(d *json.Decoder, path []string) (any, error) {
	object := map[string]any{}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return nil, syntax(err)
		}
		name, ok := tok.(string)
		if !ok {
			return nil, errors.New("a field's name is missing")
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("the field %q is given twice", strings.Join(append(path, name), "."))
		}
		if object[name], err = parseValue(d, append(path, name)); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return object, syntax(err)
}

// syntax says what is wrong without quoting the text, which may hold a password.
func syntax(err error) error {
	var se *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &se):
		return fmt.Errorf("a syntax error before byte %d", se.Offset)
	}
	return errors.New("it ends too early")
}
