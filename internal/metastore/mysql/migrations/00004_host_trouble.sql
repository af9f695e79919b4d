-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE hosts ADD COLUMN trouble VARCHAR(4096) NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE hosts DROP COLUMN trouble;
