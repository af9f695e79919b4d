-- +goose Up
ALTER TABLE hosts ADD COLUMN trouble TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE hosts DROP COLUMN trouble;
