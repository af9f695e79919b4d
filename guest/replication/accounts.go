package replication

import (
	"context"
	"database/sql"
	"fmt"
)

// settings make a member's account, locked, or bring one that is there to what it has to be. They are one line each, and complete, for mysqld reads them from a file, too.
//
// CONNECTION_ADMIN lets members in while clients are kept out (offline_mode), as they are until a new primary has sealed; SYSTEM_USER keeps users who
// may change accounts from changing this one.
func settings(id string) ([]string, error) {
	name, err := Account(id)
	if err != nil {
		return nil, err
	}
	account, subject := literal(name)+"@"+literal(accountHost), literal(Subject(id))
	return []string{
		"CREATE USER IF NOT EXISTS " + account + " IDENTIFIED WITH caching_sha2_password BY '' REQUIRE SUBJECT " + subject + " ACCOUNT LOCK",
		"ALTER USER " + account + " IDENTIFIED WITH caching_sha2_password BY '' REQUIRE SUBJECT " + subject + " PASSWORD EXPIRE NEVER ACCOUNT LOCK",
		"GRANT REPLICATION SLAVE, CONNECTION_ADMIN, SYSTEM_USER ON *.* TO " + account,
	}, nil
}

// entrance is an account that may replicate.
type entrance struct {
	open    bool
	subject string // whose certificate it demands; empty where anything of it is not as settings have it
}

// entrances reads the accounts, by name.
func entrances(ctx context.Context, c *sql.Conn) (map[string]entrance, error) {
	rows, err := c.QueryContext(ctx, `SELECT User, account_locked = 'N', IF(plugin = 'caching_sha2_password' AND authentication_string = '' AND ssl_type = 'SPECIFIED'
		AND x509_issuer = '' AND ssl_cipher = '' AND password_expired = 'N' AND password_lifetime = 0 AND Repl_slave_priv = 'Y' AND
		(SELECT COUNT(*) FROM mysql.global_grants g WHERE g.USER = u.User AND g.HOST = u.Host AND g.PRIV IN ('CONNECTION_ADMIN', 'SYSTEM_USER')) = 2, x509_subject, '')
		FROM mysql.user u WHERE Host = ? AND User LIKE 'huker|_r|_%' ESCAPE '|'`, accountHost)
	if err != nil {
		return nil, fmt.Errorf("read the accounts: %w", err)
	}
	defer func() { _ = rows.Close() }()
	all := map[string]entrance{}
	for rows.Next() {
		var name string
		var open sql.NullBool
		var subject sql.NullString
		if err := rows.Scan(&name, &open, &subject); err != nil {
			return nil, fmt.Errorf("read the accounts: %w", err)
		}
		all[name] = entrance{open: open.Bool, subject: subject.String}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the accounts: %w", err)
	}
	return all, nil
}

// unlock opens an instance's account, and makes it first where it is not there as it has to be. It can be entered only when the last step is done. Each statement is
// brought to the disk, and clients wait meanwhile: so members' accounts are there, locked, from the time on that a server's data is (initStatements).
func unlock(ctx context.Context, c *sql.Conn, id string, now entrance) error {
	if now.open {
		return nil
	}
	name, err := Account(id)
	if err != nil {
		return err
	}
	var texts []string
	if now.subject != Subject(id) {
		if texts, err = settings(id); err != nil {
			return err
		}
	}
	if err := runAll(ctx, c, texts...); err != nil {
		return fmt.Errorf("make the account of %s: %w", id, err)
	}
	if err := run(ctx, c, "ALTER USER ?@? ACCOUNT UNLOCK", name, accountHost); err != nil {
		return fmt.Errorf("open the account of %s: %w", id, err)
	}
	return nil
}
