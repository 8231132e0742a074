// @generated automatically by Diesel CLI.

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
    }
}

diesel::allow_tables_to_appear_in_same_query!(channel_stats, request_stats,);
