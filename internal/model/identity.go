package model

import "time"

// DefaultDomain is the only identity domain of Huker's own identity service.
const (
	DefaultDomainID   = "default"
	DefaultDomainName = "Default"
)

// Role names that mean something to Huker.
const (
	RoleAdmin  = "admin"
	RoleMember = "member"
	RoleReader = "reader"
)

// Project owns instances; nothing crosses from one to another.
type Project struct {
	ID          string
	Name        string
	Description string
	Enabled     bool
	Created     time.Time
}

// Account is a person or program that signs in to Huker's API (not a MySQL user).
type Account struct {
	ID               string
	Name             string
	Email            string
	Description      string
	DefaultProjectID string
	PasswordHash     string // argon2id, in the PHC string format
	Enabled          bool
	Created          time.Time
}

// Role is a name that an assignment gives to an account on a project.
type Role struct {
	ID   string
	Name string
}

// Assignment gives an account a role on a project.
type Assignment struct {
	AccountID string
	ProjectID string
	RoleID    string
}

// Token is a signed-in session. Only the SHA-256 of the token is kept.
type Token struct {
	Hash      string // hex
	AccountID string
	ProjectID string // empty when unscoped
	Methods   []string
	AuditID   string
	IssuedAt  time.Time
	ExpiresAt time.Time
}
