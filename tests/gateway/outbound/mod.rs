//! What the configuration says of requests to providers: through which proxy, whose certificates count, which headers
//! they carry, and what is changed in their bodies.

mod authorities;
mod headers;
mod http2;
mod overrides;
mod proxies;
