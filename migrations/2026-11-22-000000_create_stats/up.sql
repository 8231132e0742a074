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

-- What rows come to by the hour, '2026-11-22 09', and by the day, '2026-11-22', as JSON: a month is added up from these
-- in milliseconds, where grouping millions of rows takes seconds, whatever the index.
CREATE TABLE stats_sums (
    period VARCHAR NOT NULL PRIMARY KEY,
    tally TEXT NOT NULL
);

-- Rows up to this id have been added up.
CREATE TABLE added_up (
    source VARCHAR NOT NULL PRIMARY KEY,
    last_id BIGINT NOT NULL
);

INSERT INTO added_up (source, last_id) VALUES ('request_stats', 0), ('channel_stats', 0);
