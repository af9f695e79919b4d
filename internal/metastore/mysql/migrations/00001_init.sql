-- The tables are SQLite's, with the types that mean the same here (a test compares the columns).
--
-- MySQL commits each statement about tables by itself, so a program that is killed leaves a migration half done. It is run again
-- from its start then, and what is there already is passed over (migrate.go). So: no transaction, one thing a statement, and nothing that
-- comes out different when it is done twice.
--
-- utf8mb4_0900_bin compares byte by byte and does not ignore spaces at the end, as SQLite does by default. What is looked up by or in a key is
-- VARCHAR(255), as keys have to be short; what is only kept may be long. Too long a value is an error, not cut off. Times are microseconds since
-- 1970 UTC (the zero time is the year 1, a negative number): they sort, and are the same in every engine.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE instances (
    id                     VARCHAR(255) NOT NULL PRIMARY KEY,
    project_id             VARCHAR(255) NOT NULL,
    name                   TEXT         NOT NULL,
    desired                VARCHAR(255) NOT NULL,
    generation             BIGINT       NOT NULL,
    datastore_version_id   VARCHAR(255) NOT NULL,
    flavor_id              VARCHAR(255) NOT NULL,
    volume_gb              BIGINT       NOT NULL,
    volume_type            VARCHAR(255) NOT NULL,
    is_public              BOOLEAN      NOT NULL,
    allowed_cidrs          MEDIUMTEXT   NOT NULL COMMENT 'JSON list',
    restart_serial         BIGINT       NOT NULL,
    bootstrap              MEDIUMTEXT   COMMENT 'JSON, gone once applied',
    force_delete           BOOLEAN      NOT NULL,
    host_id                VARCHAR(255) NOT NULL,
    address                VARCHAR(255) COMMENT 'NULL until placed: only addresses that are set must differ',
    status                 VARCHAR(255) NOT NULL,
    operating_status       VARCHAR(255) NOT NULL,
    observed_generation    BIGINT       NOT NULL,
    observed_restart       BIGINT       NOT NULL,
    fault_message          MEDIUMTEXT   COMMENT 'the three are NULL together',
    fault_details          MEDIUMTEXT,
    fault_created          BIGINT,
    volume_used_bytes      BIGINT       NOT NULL,
    root_enabled           BOOLEAN      NOT NULL,
    root_enabled_at        BIGINT       NOT NULL,
    root_enabled_by        VARCHAR(255) NOT NULL,
    created                BIGINT       NOT NULL,
    updated                BIGINT       NOT NULL,
    service_status_updated BIGINT       NOT NULL,
    version                BIGINT       NOT NULL,
    UNIQUE KEY instances_address (address),
    KEY instances_page (created, id),
    KEY instances_project (project_id, created, id),
    KEY instances_host (host_id, created, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE events (
    id          BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    project_id  VARCHAR(255) NOT NULL,
    instance_id VARCHAR(255) NOT NULL,
    occurred    BIGINT       NOT NULL,
    kind        VARCHAR(255) NOT NULL,
    message     MEDIUMTEXT   NOT NULL,
    request_id  VARCHAR(255) NOT NULL,
    KEY events_instance (instance_id, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE flavors (
    id     VARCHAR(255) NOT NULL PRIMARY KEY,
    name   TEXT         NOT NULL,
    ram_mb BIGINT       NOT NULL,
    vcpus  DOUBLE       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE datastores (
    id                 VARCHAR(255) NOT NULL PRIMARY KEY,
    name               VARCHAR(255) NOT NULL,
    default_version_id VARCHAR(255) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE datastore_versions (
    id           VARCHAR(255) NOT NULL PRIMARY KEY,
    datastore_id VARCHAR(255) NOT NULL,
    name         TEXT         NOT NULL,
    engine       VARCHAR(255) NOT NULL,
    image        TEXT         NOT NULL,
    active       BOOLEAN      NOT NULL,
    created      BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE quotas (
    project_id VARCHAR(255) NOT NULL PRIMARY KEY,
    instances  BIGINT       NOT NULL,
    ram_mb     BIGINT       NOT NULL,
    volumes_gb BIGINT       NOT NULL,
    backups    BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE hosts (
    id      VARCHAR(255) NOT NULL PRIMARY KEY,
    name    VARCHAR(255) NOT NULL,
    labels  MEDIUMTEXT   NOT NULL COMMENT 'JSON object',
    cpus    DOUBLE       NOT NULL,
    ram_mb  BIGINT       NOT NULL,
    disk_gb BIGINT       NOT NULL,
    drained BOOLEAN      NOT NULL,
    created BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE projects (
    id          VARCHAR(255) NOT NULL PRIMARY KEY,
    name        VARCHAR(255) NOT NULL,
    description MEDIUMTEXT   NOT NULL,
    enabled     BOOLEAN      NOT NULL,
    created     BIGINT       NOT NULL,
    UNIQUE KEY projects_name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE accounts (
    id                 VARCHAR(255) NOT NULL PRIMARY KEY,
    name               VARCHAR(255) NOT NULL,
    email              TEXT         NOT NULL,
    description        MEDIUMTEXT   NOT NULL,
    default_project_id VARCHAR(255) NOT NULL,
    password_hash      TEXT         NOT NULL,
    enabled            BOOLEAN      NOT NULL,
    created            BIGINT       NOT NULL,
    UNIQUE KEY accounts_name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE roles (
    id   VARCHAR(255) NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    UNIQUE KEY roles_name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE assignments (
    account_id VARCHAR(255) NOT NULL,
    project_id VARCHAR(255) NOT NULL,
    role_id    VARCHAR(255) NOT NULL,
    PRIMARY KEY (account_id, project_id, role_id),
    KEY assignments_project (project_id),
    KEY assignments_role (role_id),
    CONSTRAINT assignments_to_account FOREIGN KEY (account_id) REFERENCES accounts (id),
    CONSTRAINT assignments_to_project FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT assignments_to_role FOREIGN KEY (role_id) REFERENCES roles (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE tokens (
    hash       VARCHAR(255) NOT NULL PRIMARY KEY,
    account_id VARCHAR(255) NOT NULL,
    project_id VARCHAR(255) COMMENT 'NULL when unscoped',
    methods    MEDIUMTEXT   NOT NULL COMMENT 'JSON list',
    audit_id   TEXT         NOT NULL,
    issued     BIGINT       NOT NULL,
    expires    BIGINT       NOT NULL,
    KEY tokens_account (account_id),
    KEY tokens_project (project_id),
    KEY tokens_expires (expires),
    CONSTRAINT tokens_to_account FOREIGN KEY (account_id) REFERENCES accounts (id),
    CONSTRAINT tokens_to_project FOREIGN KEY (project_id) REFERENCES projects (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE secrets (
    owner VARCHAR(255) NOT NULL,
    name  VARCHAR(255) NOT NULL,
    value LONGBLOB     NOT NULL,
    PRIMARY KEY (owner, name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

-- Row 1 is written by Ping: a store that can only be read is not healthy. Row 2 is where transactions that lost stand in line.
CREATE TABLE heartbeat (
    id    BIGINT NOT NULL PRIMARY KEY,
    beats BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;
INSERT INTO heartbeat (id, beats) VALUES (1, 0), (2, 0) ON DUPLICATE KEY UPDATE beats = beats;

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
