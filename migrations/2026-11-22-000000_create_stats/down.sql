DROP TABLE added_up;
DROP TABLE channel_hours;
DROP TABLE client_ip_days;
DROP TABLE request_hours;
DROP TABLE channel_stats;
DROP TABLE request_stats;
