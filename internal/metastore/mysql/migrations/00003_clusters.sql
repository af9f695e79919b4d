-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE instances ADD COLUMN cluster_id VARCHAR(255) NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN detaching BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN role VARCHAR(255) NOT NULL DEFAULT '';
ALTER TABLE instances ADD KEY instances_cluster (cluster_id, created, id);

CREATE TABLE clusters (
    id                   VARCHAR(255) NOT NULL PRIMARY KEY,
    project_id           VARCHAR(255) NOT NULL,
    name                 TEXT         NOT NULL,
    implicit             BOOLEAN      NOT NULL,
    desired              VARCHAR(255) NOT NULL,
    generation           BIGINT       NOT NULL,
    datastore_version_id VARCHAR(255) NOT NULL,
    policy               VARCHAR(255) NOT NULL,
    acks                 BIGINT       NOT NULL,
    max_lag              BIGINT       NOT NULL COMMENT 'microseconds',
    switchover           MEDIUMTEXT   COMMENT 'JSON, NULL when none was ever asked for',
    restart_serial       BIGINT       NOT NULL,
    spread               VARCHAR(255) NOT NULL,
    rw_address           VARCHAR(255) COMMENT 'NULL until there is an address: only those that are set must differ',
    ro_address           VARCHAR(255),
    rw_port              BIGINT       NOT NULL,
    ro_port              BIGINT       NOT NULL,
    status               VARCHAR(255) NOT NULL,
    founded              BOOLEAN      NOT NULL,
    primary_id           VARCHAR(255) NOT NULL,
    epoch                BIGINT       NOT NULL,
    state                MEDIUMTEXT   NOT NULL COMMENT 'what is done about it; "condition" and "read_write" are words of MySQL''s',
    alarms               MEDIUMTEXT   NOT NULL COMMENT 'JSON list',
    observed_generation  BIGINT       NOT NULL,
    observed_switchover  BIGINT       NOT NULL,
    observed_restart     BIGINT       NOT NULL,
    fault                MEDIUMTEXT   COMMENT 'JSON',
    created              BIGINT       NOT NULL,
    updated              BIGINT       NOT NULL,
    version              BIGINT       NOT NULL,
    UNIQUE KEY clusters_rw_address (rw_address),
    UNIQUE KEY clusters_ro_address (ro_address),
    KEY clusters_page (created, id),
    KEY clusters_project (project_id, created, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE turns (
    cluster_id VARCHAR(255) NOT NULL,
    epoch      BIGINT       NOT NULL,
    turn       MEDIUMTEXT   NOT NULL COMMENT 'JSON',
    PRIMARY KEY (cluster_id, epoch)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

-- +goose Down
DROP TABLE turns;
DROP TABLE clusters;
ALTER TABLE instances DROP KEY instances_cluster;
ALTER TABLE instances DROP COLUMN role;
ALTER TABLE instances DROP COLUMN detaching;
ALTER TABLE instances DROP COLUMN priority;
ALTER TABLE instances DROP COLUMN cluster_id;
