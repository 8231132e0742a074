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
    timestamp DATETIME DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS channel_stats (
    id INTEGER NOT NULL PRIMARY KEY,
    request_id VARCHAR,
    provider VARCHAR,
    model VARCHAR,
    api_key VARCHAR,
    provider_api_key VARCHAR,
    success BOOLEAN DEFAULT FALSE,
    timestamp DATETIME DEFAULT CURRENT_TIMESTAMP
);

-- Rows come in the order of time, so these indexes only ever grow at their end. Everything that is
-- asked for is asked for over a span of time.
CREATE INDEX IF NOT EXISTS ix_request_stats_timestamp ON request_stats (timestamp);
CREATE INDEX IF NOT EXISTS ix_channel_stats_timestamp ON channel_stats (timestamp);
