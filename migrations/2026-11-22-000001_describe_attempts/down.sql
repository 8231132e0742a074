ALTER TABLE channel_stats DROP COLUMN duration_ms;
ALTER TABLE channel_stats DROP COLUMN outcome;
ALTER TABLE channel_stats DROP COLUMN region;
