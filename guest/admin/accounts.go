package admin

import (
	"context"
)

// The agent's own account.
const (
	AgentUser = "huker_agent"
	AgentHost = "localhost"
)

// Accounts prepares a server's own accounts. Its sessions must have been dialled with Login.Local, so that the accounts of one server do
// not travel to others.
type Accounts struct{ s *Server }

// NewAccounts takes a server whose sessions are local.
func NewAccounts(s *Server) Accounts { return Accounts{s} }

// AllowWrites lets this session change accounts while the server stays closed: read_only stays on and clients stay out (offline_mode). Close
// undoes it.
func (a Accounts) AllowWrites(ctx context.Context) error {
	return a.s.run(ctx, "prepare accounts", stmt("SET GLOBAL offline_mode = ON"), stmt("SET GLOBAL read_only = ON"), stmt("SET GLOBAL super_read_only = OFF"))
}

// Close makes the server read-only again for everyone.
func (a Accounts) Close(ctx context.Context) error {
	return a.s.run(ctx, "prepare accounts", stmt("SET GLOBAL super_read_only = ON"))
}

// MakeAgent makes the agent's account with all rights. It can sign in only when the last step is done, so that being able to sign in proves
// that the account is whole. Safe to repeat after any step.
func (a Accounts) MakeAgent(ctx context.Context, password string) error {
	return a.s.run(ctx, "make the agent's account",
		stmt("CREATE USER IF NOT EXISTS ?@? IDENTIFIED WITH caching_sha2_password BY ? ACCOUNT LOCK", AgentUser, AgentHost, password).hiding(password),
		// It never expires, whatever default_password_lifetime a user may set.
		stmt("ALTER USER ?@? IDENTIFIED WITH caching_sha2_password BY ? REQUIRE NONE PASSWORD EXPIRE NEVER ACCOUNT LOCK", AgentUser, AgentHost, password).hiding(password),
		stmt("GRANT ALL PRIVILEGES ON *.* TO ?@? WITH GRANT OPTION", AgentUser, AgentHost),
		stmt("ALTER USER ?@? ACCOUNT UNLOCK", AgentUser, AgentHost))
}

// DropDefaults removes the accounts that a fresh data directory comes with and that could be entered: root from the server's own host, which
// has no password, and nameless ones. The server's internal accounts stay; MySQL keeps them locked, and it is verified.
func (a Accounts) DropDefaults(ctx context.Context) error {
	const op = "remove default accounts"
	rows, err := a.s.db.QueryContext(ctx, "SELECT User, Host, account_locked FROM mysql.user WHERE User = '' OR (User = 'root' AND Host <> '%') OR User LIKE 'mysql.%'")
	if err != nil {
		return translate(op, err, "")
	}
	defer func() { _ = rows.Close() }()
	var steps []statement
	for rows.Next() {
		var name, host, locked string
		if err := rows.Scan(&name, &host, &locked); err != nil {
			return translate(op, err, "")
		}
		switch {
		case name == "" || name == rootName:
			steps = append(steps, stmt("DROP USER IF EXISTS ?@?", name, host))
		case locked != "Y":
			steps = append(steps, stmt("ALTER USER ?@? ACCOUNT LOCK", name, host))
		}
	}
	if err := rows.Err(); err != nil {
		return translate(op, err, "")
	}
	return a.s.run(ctx, op, steps...)
}
