package client

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// cacheFile is where the token of this account and project is kept: one file each, readable by its owner alone. The password is no part of the
// name, so that the name says nothing about it.
func (s *session) cacheFile() string {
	c := s.conf
	key := strings.Join([]string{
		c.AuthURL, c.Domain, c.DomainID, c.Username, c.ProjectID, c.Project, c.ProjectDomain, c.ProjectDomainID, c.Region, c.Interface,
	}, "\x00")
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(c.CacheDir, "token-"+hex.EncodeToString(sum[:16])+".json")
}

// caches reports whether tokens are kept. One that the caller has brought is already kept where it came from.
func (s *session) caches() bool { return s.conf.CacheDir != "" && s.conf.AuthType == AuthPassword }

// load gives a token that is still good. A cache that cannot be read, or that others could have written, is none.
func (s *session) load() (grant, bool) {
	if !s.caches() {
		return grant{}, false
	}
	path := s.cacheFile()
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return grant{}, false
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return grant{}, false
	}
	var g grant
	if json.Unmarshal(text, &g) != nil || g.Token == "" || g.Endpoint == "" || !s.conf.Now().Add(margin).Before(g.Expires) {
		return grant{}, false
	}
	return g, true
}

// save keeps a token. When it cannot, the next program signs in again: no reason to fail.
func (s *session) save(g grant) {
	if !s.caches() {
		return
	}
	if err := writePrivate(s.cacheFile(), g); err != nil {
		s.conf.Log.Debug("the token is not kept", "error", err)
	}
}

// writePrivate replaces a file at once: another program reads the old token or the new one.
func writePrivate(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	f, err := os.CreateTemp(dir, ".token-*") // 0600
	if err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write the cache: %w", err)
	}
	return nil
}
