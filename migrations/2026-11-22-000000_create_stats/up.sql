-- Files of other generations of uni-api have the first two tables already, with fewer columns; they are given the
-- others before this runs.
CREATE TABLE IF NOT EXISTS request_stats (
    id INTEGER NOT NULL PRIMARY KEY,
    request_id VARCHAR,
    trace_id VARCHAR,
    endpoint VARCHAR,
    client_ip VARCHAR,
    process_time FLOAT,
    first_response_time FLOAT,
    provider VARCHAR,
    model VARCHAR,
    api_key VARCHAR,
    is_flagged BOOLEAN DEFAULT FALSE,
    text TEXT,
    prompt_tokens INTEGER DEFAULT 0,
    completion_tokens INTEGER DEFAULT 0,
    total_tokens INTEGER DEFAULT 0,
    prompt_price FLOAT DEFAULT 0,
    completion_price FLOAT DEFAULT 0,
    timing_spans TEXT,
    timestamp DATETIME DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN,
    status INTEGER,
    attempts INTEGER,
    is_streamed BOOLEAN,
    cached_tokens INTEGER,
    cache_creation_tokens INTEGER,
    reasoning_tokens INTEGER
);

CREATE TABLE IF NOT EXISTS channel_stats (
    id INTEGER NOT NULL PRIMARY KEY,
    request_id VARCHAR,
    provider VARCHAR,
    model VARCHAR,
    api_key VARCHAR,
    provider_api_key VARCHAR,
    success BOOLEAN DEFAULT FALSE,
    timestamp DATETIME DEFAULT CURRENT_TIMESTAMP,
    region VARCHAR,
    outcome VARCHAR,
    duration_ms INTEGER
);

-- Rows come in the order of time, so these indexes only ever grow at their end.
CREATE INDEX IF NOT EXISTS ix_request_stats_timestamp ON request_stats (timestamp);
CREATE INDEX IF NOT EXISTS ix_channel_stats_timestamp ON channel_stats (timestamp);

-- What rows come to by the hour, '2026-11-22 09': a month is added up from these in milliseconds, where grouping
-- millions of rows takes seconds, whatever the index. Rows are added up in portions, so an hour may have several rows
-- of the same names.
CREATE TABLE request_hours (
    id INTEGER NOT NULL PRIMARY KEY,
    hour VARCHAR,
    provider VARCHAR,
    model VARCHAR,
    endpoint VARCHAR,
    requests BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    total_tokens BIGINT,
    cached_tokens BIGINT,
    cache_creation_tokens BIGINT,
    reasoning_tokens BIGINT
);

-- There may be as many addresses as requests in an hour, so these are sums of days; '' is an unknown address.
CREATE TABLE client_ip_days (
    day VARCHAR NOT NULL,
    client_ip VARCHAR NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (day, client_ip)
);

CREATE TABLE channel_hours (
    id INTEGER NOT NULL PRIMARY KEY,
    hour VARCHAR,
    provider VARCHAR,
    model VARCHAR,
    attempts BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL
);

CREATE INDEX ix_request_hours_hour ON request_hours (hour);
CREATE INDEX ix_channel_hours_hour ON channel_hours (hour);

-- Rows up to this id have been added up.
CREATE TABLE added_up (
    source VARCHAR NOT NULL PRIMARY KEY,
    last_id BIGINT NOT NULL
);

INSERT INTO added_up (source, last_id) VALUES ('request_stats', 0), ('channel_stats', 0);
