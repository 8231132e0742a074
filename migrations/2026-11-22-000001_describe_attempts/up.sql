ALTER TABLE channel_stats ADD COLUMN region VARCHAR;
ALTER TABLE channel_stats ADD COLUMN outcome VARCHAR;
ALTER TABLE channel_stats ADD COLUMN duration_ms INTEGER;
