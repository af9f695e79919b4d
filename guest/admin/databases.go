package admin

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// maxPage is the most entries of a list in one answer, so that it fits a message.
const maxPage = 1000

func pageSize(limit int) int {
	if limit <= 0 || limit > maxPage {
		return maxPage
	}
	return limit
}

// Databases lists the users' databases by name (in bytes), after the marker; a limit of 0 means the most that one answer holds (1000).
func (s *Server) Databases(ctx context.Context, r protocol.ListRequest) ([]model.Database, error) {
	const op = "list databases"
	rows, err := s.db.QueryContext(ctx, "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA")
	if err != nil {
		return nil, translate(op, err, "")
	}
	defer func() { _ = rows.Close() }()
	all := []model.Database{}
	for rows.Next() {
		var d model.Database
		if err := rows.Scan(&d.Name, &d.CharacterSet, &d.Collate); err != nil {
			return nil, translate(op, err, "")
		}
		if !isSystemDatabase(d.Name) && d.Name > r.Marker {
			all = append(all, d)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, translate(op, err, "")
	}
	slices.SortFunc(all, func(a, b model.Database) int { return strings.Compare(a.Name, b.Name) })
	return all[:min(len(all), pageSize(r.Limit))], nil
}

// CreateDatabases makes databases. Unless existing is allowed, one that exists has nothing made, and ErrExists.
func (s *Server) CreateDatabases(ctx context.Context, wanted []model.Database, existing bool) error {
	statements := make([]statement, 0, len(wanted))
	for _, d := range wanted {
		if err := checkNewDatabase(d.Name); err != nil {
			return err
		}
		charset, collation, err := s.collation(ctx, d)
		if err != nil {
			return err
		}
		if !existing {
			if err := s.refuseDatabase(ctx, d.Name); err != nil {
				return err
			}
		}
		text := "CREATE DATABASE "
		if existing {
			text += "IF NOT EXISTS "
		}
		text += ident(d.Name)
		if charset != "" { // both are words that the server itself told: no quoting
			text += " CHARACTER SET " + charset
		}
		if collation != "" {
			text += " COLLATE " + collation
		}
		statements = append(statements, stmt(text))
	}
	return s.run(ctx, "create databases", statements...)
}

func (s *Server) refuseDatabase(ctx context.Context, name string) error {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", name).Scan(&n)
	if err != nil {
		return translate("create databases", err, "")
	}
	if n > 0 {
		return failf(ErrExists, "database %q exists", name)
	}
	return nil
}

// collation checks a database's character set and collation against the server's own, and gives their names as the server spells
// them; empty where the server's default is wanted.
func (s *Server) collation(ctx context.Context, d model.Database) (charset, collation string, err error) {
	const op = "create databases"
	wantSet, wantColl := strings.ToLower(d.CharacterSet), strings.ToLower(d.Collate)
	// Old clients say utf8, which MySQL calls utf8mb3 since 8.0.30; the collations have no such alias any more.
	if wantSet == "utf8" {
		wantSet = "utf8mb3"
	}
	if strings.HasPrefix(wantColl, "utf8_") {
		wantColl = "utf8mb3_" + strings.TrimPrefix(wantColl, "utf8_")
	}
	if wantColl != "" {
		var of string
		err := s.db.QueryRowContext(ctx, "SELECT COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE COLLATION_NAME = ?", wantColl).Scan(&collation, &of)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return "", "", failf(ErrInvalid, "there is no collation %q", d.Collate)
		case err != nil:
			return "", "", translate(op, err, "")
		case wantSet != "" && wantSet != of:
			return "", "", failf(ErrInvalid, "collation %q is not one of character set %q", d.Collate, d.CharacterSet)
		}
		return of, collation, nil
	}
	if wantSet == "" {
		return "", "", nil
	}
	err = s.db.QueryRowContext(ctx, "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME = ?", wantSet).Scan(&charset)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", "", failf(ErrInvalid, "there is no character set %q", d.CharacterSet)
	case err != nil:
		return "", "", translate(op, err, "")
	}
	return charset, "", nil
}

// DeleteDatabase drops a database with all that is in it.
func (s *Server) DeleteDatabase(ctx context.Context, name string) error {
	if name == "" || !plain(name) || isSystemDatabase(name) {
		return failf(ErrNotFound, "there is no database %q", name)
	}
	err := s.run(ctx, fmt.Sprintf("delete database %q", name), stmt("DROP DATABASE "+ident(name)))
	if errors.Is(err, ErrNotFound) {
		return failf(ErrNotFound, "there is no database %q", name)
	}
	return err
}
