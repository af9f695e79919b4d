-- +goose Up
ALTER TABLE instances ADD COLUMN cluster_id TEXT NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN detaching INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN role TEXT NOT NULL DEFAULT '';
CREATE INDEX instances_cluster ON instances (cluster_id, created, id);

CREATE TABLE clusters (
    id                   TEXT    NOT NULL PRIMARY KEY,
    project_id           TEXT    NOT NULL,
    name                 TEXT    NOT NULL,
    implicit             INTEGER NOT NULL,
    desired              TEXT    NOT NULL,
    generation           INTEGER NOT NULL,
    datastore_version_id TEXT    NOT NULL,
    policy               TEXT    NOT NULL,
    acks                 INTEGER NOT NULL,
    max_lag              INTEGER NOT NULL, -- microseconds
    switchover           TEXT,             -- JSON, NULL when none was ever asked for
    restart_serial       INTEGER NOT NULL,
    spread               TEXT    NOT NULL,
    rw_address           TEXT,             -- NULL until there is an address: only those that are set must differ
    ro_address           TEXT,
    rw_port              INTEGER NOT NULL,
    ro_port              INTEGER NOT NULL,
    status               TEXT    NOT NULL,
    founded              INTEGER NOT NULL,
    primary_id           TEXT    NOT NULL,
    epoch                INTEGER NOT NULL,
    state                TEXT    NOT NULL, -- what is done about it; "condition" and "read_write" are words of MySQL's
    alarms               TEXT    NOT NULL, -- JSON list
    observed_generation  INTEGER NOT NULL,
    observed_switchover  INTEGER NOT NULL,
    observed_restart     INTEGER NOT NULL,
    fault                TEXT,             -- JSON
    created              INTEGER NOT NULL,
    updated              INTEGER NOT NULL,
    version              INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX clusters_rw_address ON clusters (rw_address);
CREATE UNIQUE INDEX clusters_ro_address ON clusters (ro_address);
CREATE INDEX clusters_page ON clusters (created, id);
CREATE INDEX clusters_project ON clusters (project_id, created, id);

CREATE TABLE turns (
    cluster_id TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    turn       TEXT    NOT NULL, -- JSON
    PRIMARY KEY (cluster_id, epoch)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE turns;
DROP TABLE clusters;
DROP INDEX instances_cluster;
ALTER TABLE instances DROP COLUMN role;
ALTER TABLE instances DROP COLUMN detaching;
ALTER TABLE instances DROP COLUMN priority;
ALTER TABLE instances DROP COLUMN cluster_id;
