package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// flattener copies a root file system as a tar stream, leaving things out and putting files in, so that what was removed really is
// gone and the image is one layer.
type flattener struct {
	drop     []string          // patterns of paths below the root; what is below a match goes too
	dropped  func(string) bool // more of it; may be nil
	add      map[string][]byte // files put in or replaced, by path below the root
	modified time.Time         // of added files
	gone     map[string]bool   // what was left out, for hard links
}

// matches reports whether a path or one of the folders above it is matched by drop.
func (f *flattener) matches(file string) bool {
	for p := file; p != "." && p != "/"; p = path.Dir(p) {
		for _, pattern := range f.drop {
			if ok, _ := path.Match(pattern, p); ok { // the patterns are constants, checked by a test
				return true
			}
		}
	}
	return false
}

// copy streams src to dst.
func (f *flattener) copy(dst io.Writer, src io.Reader) error {
	in, out := tar.NewReader(src), tar.NewWriter(dst)
	f.gone = map[string]bool{}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the root file system: %w", err)
		}
		if err := f.copyOne(out, in, h); err != nil {
			return fmt.Errorf("copying %s: %w", h.Name, err)
		}
	}
	for name, data := range f.add {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data)), ModTime: f.modified, Format: tar.FormatPAX}
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("adding %s: %w", name, err)
		}
		if _, err := out.Write(data); err != nil {
			return fmt.Errorf("adding %s: %w", name, err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("ending the root file system: %w", err)
	}
	return nil
}

func (f *flattener) copyOne(out *tar.Writer, in io.Reader, h *tar.Header) error {
	name := strings.Trim(path.Clean("/"+h.Name), "/")
	if name == "" {
		return nil
	}
	if _, replaced := f.add[name]; replaced {
		return nil
	}
	if f.matches(name) || (f.dropped != nil && f.dropped(name)) {
		f.gone[name] = true
		return nil
	}
	if h.Typeflag == tar.TypeLink && f.gone[strings.Trim(path.Clean("/"+h.Linkname), "/")] {
		return fmt.Errorf("it is a hard link to %s, which is left out", h.Linkname)
	}
	h.Name, h.Uname, h.Gname, h.Format = name, "", "", tar.FormatPAX
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(out, in) // bounded by the header's size
	return err
}
