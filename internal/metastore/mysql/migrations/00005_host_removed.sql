-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE hosts ADD COLUMN removed BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
ALTER TABLE hosts DROP COLUMN removed;
