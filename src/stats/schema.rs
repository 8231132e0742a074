// @generated automatically by Diesel CLI.

diesel::table! {
    added_up (source) {
        source -> Text,
        last_id -> BigInt,
    }
}

diesel::table! {
    channel_hours (id) {
        id -> Integer,
        hour -> Nullable<Text>,
        provider -> Nullable<Text>,
        model -> Nullable<Text>,
        attempts -> BigInt,
        succeeded -> BigInt,
        failed -> BigInt,
    }
}

diesel::table! {
    channel_stats (id) {
        id -> Integer,
        request_id -> Nullable<Text>,
        provider -> Nullable<Text>,
        model -> Nullable<Text>,
        api_key -> Nullable<Text>,
        provider_api_key -> Nullable<Text>,
        success -> Nullable<Bool>,
        timestamp -> Nullable<Timestamp>,
        region -> Nullable<Text>,
        outcome -> Nullable<Text>,
        duration_ms -> Nullable<Integer>,
    }
}

diesel::table! {
    client_ip_days (day, client_ip) {
        day -> Text,
        client_ip -> Text,
        requests -> BigInt,
    }
}

diesel::table! {
    request_hours (id) {
        id -> Integer,
        hour -> Nullable<Text>,
        provider -> Nullable<Text>,
        model -> Nullable<Text>,
        endpoint -> Nullable<Text>,
        requests -> BigInt,
        succeeded -> BigInt,
        failed -> BigInt,
        prompt_tokens -> Nullable<BigInt>,
        completion_tokens -> Nullable<BigInt>,
        total_tokens -> Nullable<BigInt>,
        cached_tokens -> Nullable<BigInt>,
        cache_creation_tokens -> Nullable<BigInt>,
        reasoning_tokens -> Nullable<BigInt>,
    }
}

diesel::table! {
    request_stats (id) {
        id -> Integer,
        request_id -> Nullable<Text>,
        trace_id -> Nullable<Text>,
        endpoint -> Nullable<Text>,
        client_ip -> Nullable<Text>,
        process_time -> Nullable<Float>,
        first_response_time -> Nullable<Float>,
        provider -> Nullable<Text>,
        model -> Nullable<Text>,
        api_key -> Nullable<Text>,
        is_flagged -> Nullable<Bool>,
        text -> Nullable<Text>,
        prompt_tokens -> Nullable<Integer>,
        completion_tokens -> Nullable<Integer>,
        total_tokens -> Nullable<Integer>,
        prompt_price -> Nullable<Float>,
        completion_price -> Nullable<Float>,
        timing_spans -> Nullable<Text>,
        timestamp -> Nullable<Timestamp>,
        success -> Nullable<Bool>,
        status -> Nullable<Integer>,
        attempts -> Nullable<Integer>,
        is_streamed -> Nullable<Bool>,
        cached_tokens -> Nullable<Integer>,
        cache_creation_tokens -> Nullable<Integer>,
        reasoning_tokens -> Nullable<Integer>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    added_up,
    channel_hours,
    channel_stats,
    client_ip_days,
    request_hours,
    request_stats,
);
