//! Calls that a web page has a browser make.
//!
//! Owns how such a call is told. A browser lets any page send simple requests to any address that
//! its machine reaches, loopback too; the page cannot read the answer, and need not. So who asks
//! nobody for credentials does nothing for a page. Browsers say themselves where a call comes from,
//! and a page cannot make them keep it to themselves; other clients say nothing of it.

use axum::http::HeaderMap;
use axum::http::header::ORIGIN;

const FETCH_SITE: &str = "sec-fetch-site";

/// Whether a web page made the call.
#[must_use]
pub fn is_from_a_web_page(headers: &HeaderMap) -> bool {
    let site = headers.get(FETCH_SITE).map(|value| value.as_bytes());
    headers.contains_key(ORIGIN) || matches!(site, Some(b"cross-site" | b"same-site"))
}
