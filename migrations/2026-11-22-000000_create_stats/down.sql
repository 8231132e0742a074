DROP TABLE channel_stats;
DROP TABLE request_stats;
