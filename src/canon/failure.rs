//! How a request, or one attempt of it, failed: where it came from, whether another attempt makes
//! sense, and what the client is told.
//!
//! [`FailureKind::public`] is the one table that maps kinds to statuses and public codes. A
//! [`Failure`] is created where the fact is known and never re-interpreted later.

use std::borrow::Cow;
use std::time::Duration;

/// Who caused a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The request itself is at fault.
    Client,
    /// The gateway is.
    Gateway,
    /// A provider is.
    Upstream,
}

/// Whether another attempt makes sense, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same key again: only what was derived from it is refused, and will be renewed.
    SameKey,
    /// The next key of the same channel: this one is refused, spent or limited.
    Key,
    /// The next channel; this one may be asked again with another key when all others failed.
    Channel,
    /// The next channel, and never this one again for this request.
    OtherChannel,
    /// The next channel whose model goes by another name: every other one would say the same.
    OtherModel,
    /// No further attempt: every provider would say the same.
    Stop,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No client key, or one that is not configured.
    Unauthorized,
    /// The client key may not do this.
    PermissionDenied,
    /// No channel offers the model to this client key.
    ModelNotFound,
    /// The body is not what the endpoint takes.
    InvalidRequest,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// There is no such route.
    RouteNotFound,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// There are more connections than the gateway takes.
    TooManyConnections,
    /// A bug of the gateway.
    Internal,
    /// The gateway is shutting down, and its time is over.
    ShuttingDown,
    /// The database of the statistics cannot be read.
    StatsUnreadable,
    /// Nothing is left that could be tried.
    Unavailable,
    /// The time that the request may take in all is over.
    DeadlinePassed,
    /// The client's own limit, or the gateway's, is reached.
    LimitReached,
    /// The prompt did not pass moderation.
    Flagged,
    /// The prompt could not be moderated.
    ModerationUnavailable,
    /// No connection to the upstream.
    Connect,
    /// The connection broke before the upstream answered.
    ConnectionLost,
    /// The upstream's first event did not come in time.
    FirstEventTimeout,
    /// The upstream fell silent in the middle of its answer.
    IdleTimeout,
    /// The upstream's whole answer took too long.
    TotalTimeout,
    /// The request asks for what this channel's format cannot say.
    Untranslatable,
    /// An image or document behind an address cannot be fetched, or must not be.
    MediaUnavailable,
    /// The upstream refused the request as wrong (400, 413, 422).
    Rejected,
    /// The prompt is longer than the upstream's model can take.
    ContextTooLong,
    /// The upstream refused the request, or withheld its answer, for what it says.
    ContentFiltered,
    /// The upstream refused our key (401, 403).
    KeyRefused,
    /// The balance or quota behind our key is spent.
    QuotaSpent,
    /// The upstream limits the rate (429).
    RateLimited,
    /// The upstream does not know the model or the path (404).
    UpstreamNotFound,
    /// The upstream is too busy (503, 529).
    Overloaded,
    /// Any other status that is not a success.
    UpstreamStatus,
    /// An error object in an answer that claimed success.
    ErrorInAnswer,
    /// An answer without content.
    EmptyAnswer,
    /// An answer in a form that the dialect does not have, such as an HTML page.
    UnreadableAnswer,
    /// An answer that ended before it was whole.
    CutAnswer,
}

/// What a client is told about a kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Public {
    /// HTTP status, unless the upstream's own is passed on.
    pub status: u16,
    /// `error.type`, in OpenAI's words where it has one.
    pub error_type: &'static str,
    /// `error.code`.
    pub code: &'static str,
}

impl FailureKind {
    /// All of them, in the order of the enumeration.
    pub const ALL: [Self; 37] = [
        Self::Unauthorized,
        Self::PermissionDenied,
        Self::ModelNotFound,
        Self::InvalidRequest,
        Self::BodyTooLarge,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::TooManyConnections,
        Self::Internal,
        Self::ShuttingDown,
        Self::StatsUnreadable,
        Self::Unavailable,
        Self::DeadlinePassed,
        Self::LimitReached,
        Self::Flagged,
        Self::ModerationUnavailable,
        Self::Connect,
        Self::ConnectionLost,
        Self::FirstEventTimeout,
        Self::IdleTimeout,
        Self::TotalTimeout,
        Self::Untranslatable,
        Self::MediaUnavailable,
        Self::Rejected,
        Self::ContextTooLong,
        Self::ContentFiltered,
        Self::KeyRefused,
        Self::QuotaSpent,
        Self::RateLimited,
        Self::UpstreamNotFound,
        Self::Overloaded,
        Self::UpstreamStatus,
        Self::ErrorInAnswer,
        Self::EmptyAnswer,
        Self::UnreadableAnswer,
        Self::CutAnswer,
    ];

    /// The one table of statuses and codes.
    pub fn public(self) -> Public {
        let (status, error_type, code) = match self {
            Self::Unauthorized => (401, "authentication_error", "invalid_api_key"),
            Self::PermissionDenied => (403, "permission_error", "permission_denied"),
            Self::ModelNotFound => (404, "invalid_request_error", "model_not_found"),
            Self::InvalidRequest => (400, "invalid_request_error", "invalid_request"),
            Self::BodyTooLarge => (413, "invalid_request_error", "request_too_large"),
            Self::RouteNotFound => (404, "invalid_request_error", "unknown_url"),
            Self::MethodNotAllowed => (405, "invalid_request_error", "method_not_allowed"),
            Self::RequestTimeout => (408, "invalid_request_error", "request_timeout"),
            Self::TooManyConnections => (503, "server_error", "too_many_connections"),
            Self::Internal => (500, "server_error", "internal_error"),
            Self::ShuttingDown => (503, "server_error", "gateway_shutting_down"),
            Self::StatsUnreadable => (503, "server_error", "statistics_unavailable"),
            Self::Unavailable => (503, "server_error", "no_channel_available"),
            Self::DeadlinePassed => (504, "upstream_error", "deadline_passed"),
            Self::LimitReached => (429, "rate_limit_error", "rate_limit_exceeded"),
            Self::Flagged => (400, "invalid_request_error", "content_flagged"),
            Self::ModerationUnavailable => (503, "server_error", "moderation_unavailable"),
            Self::Connect => (502, "upstream_error", "upstream_unreachable"),
            Self::ConnectionLost => (502, "upstream_error", "upstream_connection_lost"),
            Self::FirstEventTimeout => (504, "upstream_error", "upstream_first_event_timeout"),
            Self::IdleTimeout => (504, "upstream_error", "upstream_idle_timeout"),
            Self::TotalTimeout => (504, "upstream_error", "upstream_total_timeout"),
            Self::Untranslatable => (400, "invalid_request_error", "unsupported_by_channel"),
            Self::MediaUnavailable => (400, "invalid_request_error", "invalid_media_url"),
            Self::Rejected => (400, "invalid_request_error", "upstream_rejected"),
            Self::ContextTooLong => (400, "invalid_request_error", "context_length_exceeded"),
            Self::ContentFiltered => (400, "invalid_request_error", "content_filter"),
            Self::QuotaSpent => (429, "insufficient_quota", "insufficient_quota"),
            Self::Overloaded => (503, "upstream_error", "upstream_overloaded"),
            Self::KeyRefused => (502, "upstream_error", "upstream_key_refused"),
            Self::RateLimited => (429, "rate_limit_error", "rate_limit_exceeded"),
            Self::UpstreamNotFound => (404, "invalid_request_error", "upstream_not_found"),
            Self::UpstreamStatus => (502, "upstream_error", "upstream_error"),
            Self::ErrorInAnswer => (502, "upstream_error", "upstream_error"),
            Self::EmptyAnswer => (502, "upstream_error", "upstream_empty_answer"),
            Self::UnreadableAnswer => (502, "upstream_error", "upstream_unreadable_answer"),
            Self::CutAnswer => (502, "upstream_error", "upstream_cut_answer"),
        };
        Public { status, error_type, code }
    }

    /// Who caused it.
    pub fn origin(self) -> Origin {
        match self {
            Self::Unauthorized
            | Self::PermissionDenied
            | Self::ModelNotFound
            | Self::InvalidRequest
            | Self::BodyTooLarge
            | Self::RouteNotFound
            | Self::MethodNotAllowed
            | Self::RequestTimeout
            | Self::TooManyConnections
            | Self::LimitReached
            | Self::Flagged
            | Self::Untranslatable
            | Self::MediaUnavailable => Origin::Client,
            Self::Internal
            | Self::ShuttingDown
            | Self::StatsUnreadable
            | Self::Unavailable
            | Self::ModerationUnavailable => Origin::Gateway,
            _ => Origin::Upstream,
        }
    }

    /// Whether another attempt makes sense.
    pub fn next(self) -> Next {
        match self {
            Self::KeyRefused | Self::QuotaSpent | Self::RateLimited => Next::Key,
            Self::UpstreamStatus
            | Self::Overloaded
            | Self::ConnectionLost
            | Self::ErrorInAnswer
            | Self::EmptyAnswer
            | Self::UnreadableAnswer
            | Self::CutAnswer => Next::Channel,
            Self::Connect
            | Self::FirstEventTimeout
            | Self::IdleTimeout
            | Self::TotalTimeout
            | Self::UpstreamNotFound
            | Self::Untranslatable
            | Self::MediaUnavailable => Next::OtherChannel,
            Self::ContextTooLong => Next::OtherModel,
            _ => Next::Stop,
        }
    }

    /// Whether it shows that the channel, or the model there, is not well. What a key lacks, what the
    /// request is wrong about and what was never sent does not.
    pub fn blames_channel(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::ConnectionLost
                | Self::FirstEventTimeout
                | Self::IdleTimeout
                | Self::TotalTimeout
                | Self::UpstreamNotFound
                | Self::Overloaded
                | Self::UpstreamStatus
                | Self::ErrorInAnswer
                | Self::EmptyAnswer
                | Self::UnreadableAnswer
                | Self::CutAnswer
        )
    }

    /// Whether it happened before anything was sent to the upstream.
    pub fn is_unsent(self) -> bool {
        matches!(self, Self::Untranslatable | Self::MediaUnavailable | Self::InvalidRequest)
    }

    /// How much a client learns from it; the most informative failure of several is what it is
    /// shown. What a provider said about the request beats what happened to a connection.
    fn informative(self) -> u8 {
        match self {
            Self::Rejected | Self::ContextTooLong | Self::ContentFiltered => 9,
            Self::UpstreamStatus | Self::Overloaded => 8,
            Self::ErrorInAnswer => 7,
            Self::RateLimited | Self::QuotaSpent => 6,
            Self::FirstEventTimeout | Self::IdleTimeout | Self::TotalTimeout => 5,
            Self::EmptyAnswer | Self::UnreadableAnswer | Self::CutAnswer => 4,
            Self::UpstreamNotFound | Self::Untranslatable | Self::MediaUnavailable => 3,
            Self::Connect | Self::ConnectionLost => 2,
            Self::KeyRefused | Self::DeadlinePassed => 1,
            _ => 0,
        }
    }
}

/// One failure, with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// One sentence for the client that says what to do next. Never contains a key or a body.
    pub message: String,
    /// The request field at fault, if one is.
    pub param: Option<Cow<'static, str>>,
    /// The upstream's own status, where it is passed on.
    pub upstream_status: Option<u16>,
    /// The upstream's own `error.code` and `error.type`, where it gave them.
    pub upstream_code: Option<String>,
    /// See [`Failure::upstream_code`].
    pub upstream_type: Option<String>,
    /// When the upstream wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of this kind, explained by one sentence.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            upstream_status: None,
            upstream_code: None,
            upstream_type: None,
            retry_after: None,
        }
    }

    /// Names the request field at fault.
    pub fn at(mut self, param: &'static str) -> Self {
        self.param = Some(Cow::Borrowed(param));
        self
    }

    /// The HTTP status of the answer. An upstream's status is passed on, except one that would
    /// blame the client's key for ours.
    pub fn status(&self) -> u16 {
        match self.upstream_status {
            Some(status) if (400..600).contains(&status) && self.kind != FailureKind::KeyRefused => status,
            _ => self.kind.public().status,
        }
    }

    /// The one of two failures that tells the client more; the later one when they are alike.
    pub fn more_informative(self, later: Self) -> Self {
        if self.kind.informative() > later.kind.informative() { self } else { later }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(kind: FailureKind, status: u16) -> Failure {
        Failure { upstream_status: Some(status), ..Failure::new(kind, "") }
    }

    #[test]
    fn no_kind_is_missing_in_the_list_of_all() {
        let (_, enumeration) = include_str!("failure.rs").split_once("pub enum FailureKind {").unwrap();
        let (enumeration, _) = enumeration.split_once("\n}").unwrap();
        let written = enumeration.lines().map(str::trim).filter(|line| !line.starts_with("///") && !line.is_empty());
        assert!(written.eq(FailureKind::ALL.map(|kind| format!("{kind:?},"))));
    }

    #[test]
    fn an_upstream_status_is_passed_on() {
        assert_eq!(upstream(FailureKind::UpstreamStatus, 503).status(), 503);
        assert_eq!(upstream(FailureKind::Rejected, 422).status(), 422);
    }

    #[test]
    fn a_refused_upstream_key_is_not_the_clients_fault() {
        assert_eq!(upstream(FailureKind::KeyRefused, 401).status(), 502);
        assert_eq!(upstream(FailureKind::KeyRefused, 403).status(), 502);
    }

    #[test]
    fn a_status_that_is_no_error_becomes_bad_gateway() {
        assert_eq!(upstream(FailureKind::UpstreamStatus, 302).status(), 502);
    }

    #[test]
    fn what_a_provider_said_beats_what_happened_to_a_connection() {
        let said = upstream(FailureKind::UpstreamStatus, 500);
        let lost = Failure::new(FailureKind::Connect, "");
        assert_eq!(said.clone().more_informative(lost.clone()), said);
        assert_eq!(lost.more_informative(said.clone()), said);
    }

    #[test]
    fn of_two_alike_the_later_one_is_shown() {
        let first = upstream(FailureKind::UpstreamStatus, 500);
        let second = upstream(FailureKind::UpstreamStatus, 503);
        assert_eq!(first.more_informative(second.clone()), second);
    }
}
