//! Requests that the gateway answers itself, with all that is said and noted of a request.

use actix_web::{HttpRequest, HttpResponse};

use crate::canon::Failure;
use crate::relay::Account;

use super::Gateway;
use super::client_ip::client_ip;
use super::edge::{name_request, new_request_id};
use super::errors::error_response;

/// The response that `answer` makes, accounted for under this endpoint.
pub async fn direct(
    request: &HttpRequest,
    gateway: &Gateway,
    endpoint: &'static str,
    answer: impl AsyncFnOnce(&mut Account) -> Result<HttpResponse, Failure>,
) -> HttpResponse {
    let request_id = new_request_id();
    let client_ip = client_ip(request, &gateway.config().trusted_proxies);
    let mut account = Account::open(&gateway.relay, request_id, endpoint, client_ip);
    let mut response = match answer(&mut account).await {
        Ok(response) => {
            account.answered();
            response
        }
        Err(failure) => {
            account.refused(&failure);
            error_response(&failure)
        }
    };
    name_request(response.headers_mut(), request_id);
    response
}
