//! What every request passes before a route sees it.
//!
//! In this order: the name the API was called by (against names that are made to point at this
//! machine, "DNS rebinding"), the web page that sends it, the token; then how many are answered
//! at once, and for how long.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem::{Problem, Reason};
use super::{Api, ApiConfig, limits};

/// Lets a request in, and marks every answer as one that nobody keeps or guesses the type of.
pub(super) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = match check(&api.0.config, &request) {
        Ok(()) => bound(&api, request, next).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Host, then Origin, then token.
fn check(config: &ApiConfig, request: &Request) -> Result<(), Problem> {
    let host = check_host(config, request)?;
    check_origin(config, &host, request.headers())?;
    check_token(config, request)
}

/// How many requests are answered at once, and how long one may take.
async fn bound(api: &Api, request: Request, next: Next) -> Response {
    if is_open(request.uri().path()) {
        return next.run(request).await;
    }
    if request.uri().path() == "/v1/events" {
        // Lives long by design; the feed has a limit of its own.
        return next.run(request).await;
    }
    let Ok(_place) = api.0.requests.try_acquire() else {
        let detail = format!("{} requests are being answered: come again", limits::REQUESTS);
        return Problem::new(Reason::Unavailable, detail).into_response();
    };
    let limit = Duration::from_secs(limits::REQUEST_SECONDS);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            Reason::Unavailable,
            format!(
                "no answer within {} seconds; what was asked may still be done",
                limits::REQUEST_SECONDS
            ),
        )
        .into_response(),
    }
}

/// What answers without a token: what a container's or a balancer's checks ask.
fn is_open(path: &str) -> bool {
    matches!(path, "/ping" | "/health" | "/ready")
}

/// A host and its port, as they stand in a Host header or after the scheme of an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest.split_once(']')?;
            inside.parse::<std::net::Ipv6Addr>().ok()?;
            (
                inside,
                after
                    .strip_prefix(':')
                    .map_or(after.is_empty().then_some(None), |p| Some(Some(p)))?,
            )
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            None => None,
            Some(port) => {
                Some(port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok())??)
            }
        };
        (!host.is_empty()).then(|| Self { host: host.to_ascii_lowercase(), port })
    }

    /// The port, or the one that the scheme stands for.
    fn port_or(&self, default: u16) -> u16 {
        self.port.unwrap_or(default)
    }
}

/// Whether a host is a name of this API.
fn is_own(config: &ApiConfig, host: &str) -> bool {
    if host == "localhost" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>()
        && (address == config.listen.ip()
            || address == IpAddr::from([127, 0, 0, 1])
            || address == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST))
    {
        return true;
    }
    config.hosts.iter().any(|own| own.trim_matches(['[', ']']).eq_ignore_ascii_case(host))
}

fn check_host(config: &ApiConfig, request: &Request) -> Result<Authority, Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(Authority::parse),
        _ => None,
    };
    // A request that names its target in full names it twice, and both must be ours.
    let target = request.uri().authority().map(|target| Authority::parse(target.as_str()));
    match (host, target) {
        (Some(host), None) if is_own(config, &host.host) => Ok(host),
        (Some(host), Some(Some(target))) if is_own(config, &host.host) && target == host => {
            Ok(host)
        }
        (host, _) => Err(Problem::new(
            Reason::ForbiddenHost,
            format!(
                "the API was called as {:?}, which is not its name: use localhost, or add the name to api.hosts",
                host.map_or_else(String::new, |host| host.host)
            ),
        )),
    }
}

/// A request from a web page names the page's origin. Only a page that this very API served (same
/// scheme, host and port) may send one; there is none such yet.
fn check_origin(config: &ApiConfig, host: &Authority, headers: &HeaderMap) -> Result<(), Problem> {
    for origin in headers.get_all(header::ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://"))
            .and_then(Authority::parse)
            .is_some_and(|origin| {
                is_own(config, &origin.host)
                    && origin.host == host.host
                    && origin.port_or(80) == host.port_or(80)
            });
        if !own {
            return Err(Problem::new(
                Reason::ForbiddenOrigin,
                "the request was sent by a web page of another origin, which may not reach the node",
            ));
        }
    }
    Ok(())
}

fn check_token(config: &ApiConfig, request: &Request) -> Result<(), Problem> {
    let path = request.uri().path();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads && (is_open(path) || (path == "/metrics" && is_local(request))) {
        return Ok(());
    }
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, token)| token.trim_ascii());
    if given.is_some_and(|given| config.token.equals(given)) {
        return Ok(());
    }
    let how = if given.is_some() { "the token is not this node's" } else { "the token is missing" };
    Err(Problem::new(
        Reason::Unauthorized,
        format!(
            "{how}: send `Authorization: Bearer …` with the text of {}",
            config.data_dir.join(super::token::FILE).display()
        ),
    ))
}

/// Whether the client is on this machine.
fn is_local(request: &Request) -> bool {
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>();
    client.is_some_and(|ConnectInfo(address)| address.ip().to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_read_strictly() {
        let read = |text| Authority::parse(text).map(|a| (a.host, a.port));
        assert_eq!(read("LocalHost:7845"), Some(("localhost".into(), Some(7845))));
        assert_eq!(read("node"), Some(("node".into(), None)));
        assert_eq!(read("[::1]:80"), Some(("::1".into(), Some(80))));
        assert_eq!(read("[::1]"), Some(("::1".into(), None)));
        for wrong in [
            "", ":80", "a:b", "a:1:2", "[::1", "[::1]x", "[::1]:", "a:", "[evil]:1", "a:99999",
            "a:+1",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
