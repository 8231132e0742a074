DROP TABLE added_up;
DROP TABLE stats_sums;
DROP TABLE channel_stats;
DROP TABLE request_stats;
