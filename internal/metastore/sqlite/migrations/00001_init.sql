-- Times are microseconds since 1970 UTC (the zero time is the year 1, a negative number): they sort, and are the same in every engine.
-- +goose Up
CREATE TABLE instances (
    id                     TEXT    NOT NULL PRIMARY KEY,
    project_id             TEXT    NOT NULL,
    name                   TEXT    NOT NULL,
    desired                TEXT    NOT NULL,
    generation             INTEGER NOT NULL,
    datastore_version_id   TEXT    NOT NULL,
    flavor_id              TEXT    NOT NULL,
    volume_gb              INTEGER NOT NULL,
    volume_type            TEXT    NOT NULL,
    is_public              INTEGER NOT NULL,
    allowed_cidrs          TEXT    NOT NULL, -- JSON list
    restart_serial         INTEGER NOT NULL,
    bootstrap              TEXT,             -- JSON, gone once applied
    force_delete           INTEGER NOT NULL,
    host_id                TEXT    NOT NULL,
    address                TEXT,             -- NULL until placed: only addresses that are set must differ
    status                 TEXT    NOT NULL,
    operating_status       TEXT    NOT NULL,
    observed_generation    INTEGER NOT NULL,
    observed_restart       INTEGER NOT NULL,
    fault_message          TEXT,             -- the three are NULL together
    fault_details          TEXT,
    fault_created          INTEGER,
    volume_used_bytes      INTEGER NOT NULL,
    root_enabled           INTEGER NOT NULL,
    root_enabled_at        INTEGER NOT NULL,
    root_enabled_by        TEXT    NOT NULL,
    created                INTEGER NOT NULL,
    updated                INTEGER NOT NULL,
    service_status_updated INTEGER NOT NULL,
    version                INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX instances_address ON instances (address);
CREATE INDEX instances_page ON instances (created, id);
CREATE INDEX instances_project ON instances (project_id, created, id);
CREATE INDEX instances_host ON instances (host_id, created, id);

CREATE TABLE events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id  TEXT    NOT NULL,
    instance_id TEXT    NOT NULL,
    occurred    INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    message     TEXT    NOT NULL,
    request_id  TEXT    NOT NULL
) STRICT;
CREATE INDEX events_instance ON events (instance_id, id);

CREATE TABLE flavors (
    id     TEXT    NOT NULL PRIMARY KEY,
    name   TEXT    NOT NULL,
    ram_mb INTEGER NOT NULL,
    vcpus  REAL    NOT NULL
) STRICT;

CREATE TABLE datastores (
    id                 TEXT NOT NULL PRIMARY KEY,
    name               TEXT NOT NULL,
    default_version_id TEXT NOT NULL
) STRICT;

CREATE TABLE datastore_versions (
    id           TEXT    NOT NULL PRIMARY KEY,
    datastore_id TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    engine       TEXT    NOT NULL,
    image        TEXT    NOT NULL,
    active       INTEGER NOT NULL,
    created      INTEGER NOT NULL
) STRICT;

CREATE TABLE quotas (
    project_id TEXT    NOT NULL PRIMARY KEY,
    instances  INTEGER NOT NULL,
    ram_mb     INTEGER NOT NULL,
    volumes_gb INTEGER NOT NULL,
    backups    INTEGER NOT NULL
) STRICT;

CREATE TABLE hosts (
    id      TEXT    NOT NULL PRIMARY KEY,
    name    TEXT    NOT NULL,
    labels  TEXT    NOT NULL, -- JSON object
    cpus    REAL    NOT NULL,
    ram_mb  INTEGER NOT NULL,
    disk_gb INTEGER NOT NULL,
    drained INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE projects (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    description TEXT    NOT NULL,
    enabled     INTEGER NOT NULL,
    created     INTEGER NOT NULL
) STRICT;

CREATE TABLE accounts (
    id                 TEXT    NOT NULL PRIMARY KEY,
    name               TEXT    NOT NULL UNIQUE,
    email              TEXT    NOT NULL,
    description        TEXT    NOT NULL,
    default_project_id TEXT    NOT NULL,
    password_hash      TEXT    NOT NULL,
    enabled            INTEGER NOT NULL,
    created            INTEGER NOT NULL
) STRICT;

CREATE TABLE roles (
    id   TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE assignments (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    project_id TEXT NOT NULL REFERENCES projects (id),
    role_id    TEXT NOT NULL REFERENCES roles (id),
    PRIMARY KEY (account_id, project_id, role_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX assignments_project ON assignments (project_id);
CREATE INDEX assignments_role ON assignments (role_id);

CREATE TABLE tokens (
    hash       TEXT    NOT NULL PRIMARY KEY,
    account_id TEXT    NOT NULL REFERENCES accounts (id),
    project_id TEXT    REFERENCES projects (id), -- NULL when unscoped
    methods    TEXT    NOT NULL,                 -- JSON list
    audit_id   TEXT    NOT NULL,
    issued     INTEGER NOT NULL,
    expires    INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_account ON tokens (account_id);
CREATE INDEX tokens_project ON tokens (project_id);
CREATE INDEX tokens_expires ON tokens (expires);

CREATE TABLE secrets (
    owner TEXT NOT NULL,
    name  TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;

-- One row, written by Ping: a store that can only be read is not healthy.
CREATE TABLE heartbeat (
    id    INTEGER NOT NULL PRIMARY KEY,
    beats INTEGER NOT NULL
) STRICT;
INSERT INTO heartbeat (id, beats) VALUES (1, 0);

-- +goose Down
DROP TABLE heartbeat;
DROP TABLE secrets;
DROP TABLE tokens;
DROP TABLE assignments;
DROP TABLE roles;
DROP TABLE accounts;
DROP TABLE projects;
DROP TABLE hosts;
DROP TABLE quotas;
DROP TABLE datastore_versions;
DROP TABLE datastores;
DROP TABLE flavors;
DROP TABLE events;
DROP TABLE instances;
