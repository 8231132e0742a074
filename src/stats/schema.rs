// @generated automatically by Diesel CLI.

diesel::table! {
    added_up (source) {
        source -> Text,
        last_id -> BigInt,
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

diesel::table! {
    stats_sums (period) {
        period -> Text,
        tally -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(added_up, channel_stats, request_stats, stats_sums,);
