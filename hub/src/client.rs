//! Requests to the hub. Redirects are followed here, so that the token goes to the hub's own host only and nothing is
//! requested over an address that is weaker than the hub's.

use crate::error::Error;
use crate::settings::Settings;
use reqwest::blocking::{Client as Http, RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode, Url};
use std::io::Read;
use std::time::Duration;

/// As many as `curl` follows by default is 50; the hub needs two.
const MAX_REDIRECTS: usize = 10;
/// For a connection, and for the next bytes of an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A list of files or an error, in bytes.
const MAX_ANSWER: u64 = 64 << 20;
/// Attempts at a request whose answer is "later".
const ATTEMPTS: u32 = 5;
/// The longest wait that a server can ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A connection to the hub.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http,
    pub(crate) settings: Settings,
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Result<Self, Error> {
        let http = Http::builder()
            .user_agent(concat!("smoltalk/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT)
            .build();
        let http = http.map_err(|error| Error::Unreachable {
            host: host(&settings.endpoint),
            reason: one_line(&error),
        })?;
        let client = Self { http, settings };
        if client.settings.token.is_some() && !is_private(&client.settings.endpoint) {
            terminal::message!(
                "note: the token is not sent to {}, which is not encrypted; use https",
                host(&client.settings.endpoint)
            );
        }
        Ok(client)
    }

    /// An address of the hub: `path` is appended to the endpoint, each part encoded.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.settings.endpoint.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path.split('/'));
        }
        url
    }

    /// Whether the token is sent to this address.
    pub(crate) fn is_authorized(&self, url: &Url) -> bool {
        self.settings.token.is_some() && self.is_own(url) && is_private(url)
    }

    /// Whether this address is the hub's own.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.settings.endpoint.origin()
    }

    /// Sends a request, follows redirects of reads, and returns the last answer, whatever its status.
    ///
    /// # Errors
    /// Without a connection, or when a redirect leads to an address that is weaker than the hub's.
    fn send(
        &self,
        id: &str,
        method: &Method,
        url: Url,
        finish: &dyn Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Error> {
        let mut url = url;
        for _ in 0..MAX_REDIRECTS {
            let mut request = finish(self.http.request(method.clone(), url.clone()));
            // An address for contents carries its own signature.
            let needs_token = *method != Method::PUT && self.is_authorized(&url);
            if let Some(token) = self.settings.token.as_ref().filter(|_| needs_token) {
                request = request.header(AUTHORIZATION, format!("Bearer {}", token.secret));
            }
            let response = request
                .send()
                .map_err(|error| Error::Unreachable { host: host(&url), reason: one_line(&error) })?;
            let is_read = matches!(*method, Method::GET | Method::HEAD);
            if !response.status().is_redirection() || !is_read {
                return Ok(response);
            }
            url = self.target(id, &url, response.headers())?;
        }
        Err(Error::Refused { id: id.to_owned(), reason: format!("more than {MAX_REDIRECTS} redirects") })
    }

    /// The address of a redirect, if it may be followed: encrypted, on this machine, or on the hub itself.
    fn target(&self, id: &str, from: &Url, headers: &HeaderMap) -> Result<Url, Error> {
        let refused = |reason: String| Error::Refused { id: id.to_owned(), reason };
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| refused("a redirect without an address".to_owned()))?;
        let url =
            from.join(location).map_err(|error| refused(format!("a redirect to {location:?}: {error}")))?;
        if is_private(&url) || (url.scheme() == "http" && self.is_own(&url)) {
            return Ok(url);
        }
        Err(refused(format!("a redirect to {:?}, which is not encrypted", url.as_str())))
    }

    /// As [`Self::send`], again while the server says "later".
    pub(crate) fn send_patiently(
        &self,
        id: &str,
        method: &Method,
        url: &Url,
        finish: &dyn Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let response = self.send(id, method, url.clone(), finish)?;
            let status = response.status();
            let is_later = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            if !is_later || attempt == ATTEMPTS {
                return Ok(response);
            }
            std::thread::sleep(wait(attempt, response.headers()));
        }
    }

    /// As [`Self::send_patiently`]; an answer that is no success is an error.
    pub(crate) fn request(
        &self,
        id: &str,
        what: &str,
        method: &Method,
        url: &Url,
        finish: &dyn Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Error> {
        let response = self.send_patiently(id, method, url, finish)?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.refusal(id, what, url, response)),
        }
    }

    /// What an answer means that is no success.
    pub(crate) fn refusal(&self, id: &str, what: &str, url: &Url, response: Response) -> Error {
        let (status, id) = (response.status(), id.to_owned());
        let code = header(response.headers(), "x-error-code");
        let message = message(response);
        let token = self.settings.token.as_ref().filter(|_| self.is_authorized(url));
        match (status.as_u16(), code.as_deref()) {
            (401, _) => match token {
                Some(token) => Error::TokenRefused { id, origin: token.origin.clone(), message },
                None => Error::NeedsToken { id, message },
            },
            (403, _) | (_, Some("GatedRepo")) => {
                let page = format!("{}", self.url(&id));
                Error::Forbidden { id, message, page }
            }
            (404, _) => Error::Missing { id, what: what.to_owned(), message },
            (status, _) => Error::Status { host: host(url), status, id, message },
        }
    }
}

/// The time before the next attempt: what the server asks for, or one, two, four seconds.
fn wait(attempt: u32, headers: &HeaderMap) -> Duration {
    let asked =
        header(headers, RETRY_AFTER.as_str()).and_then(|text| text.parse().ok()).map(Duration::from_secs);
    asked.unwrap_or(Duration::from_secs(1 << (attempt - 1))).min(MAX_WAIT)
}

pub(crate) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The body of an answer, whole; at most [`MAX_ANSWER`] bytes.
pub(crate) fn body(id: &str, response: Response) -> Result<Vec<u8>, Error> {
    let host = host(response.url());
    let mut bytes = Vec::new();
    let read = response.take(MAX_ANSWER + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::Unreachable { host, reason: error.to_string() })?;
    if bytes.len() as u64 > MAX_ANSWER {
        let reason = format!("more than {} MiB for a list", MAX_ANSWER >> 20);
        return Err(Error::Refused { id: id.to_owned(), reason });
    }
    Ok(bytes)
}

/// The server's words for an error, in parentheses, without control characters; empty if there are none.
fn message(response: Response) -> String {
    let from_header = header(response.headers(), "x-error-message");
    let text = from_header.or_else(|| {
        let mut bytes = Vec::new();
        response.take(4096).read_to_end(&mut bytes).ok()?;
        let json: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        json.get("error")?.as_str().map(str::to_owned)
    });
    let text = text.unwrap_or_default();
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
    if line.is_empty() { String::new() } else { format!(" ({})", terminal::printable(&line)) }
}

/// Encrypted, or on this machine: nobody between reads it.
pub(crate) fn is_private(url: &Url) -> bool {
    let is_local = || match url.host_str() {
        Some(host) => {
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_local())
}

pub(crate) fn host(url: &Url) -> String {
    url.host_str().unwrap_or("the hub").to_owned()
}

/// An error with its causes, which name the reason that a user can mend; without the address, which may hold a
/// signature.
fn one_line(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    if error.is_timeout() && text.is_empty() { "timed out".to_owned() } else { text }
}
