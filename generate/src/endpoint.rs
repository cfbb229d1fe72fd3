//! What the clients of OpenAI-compatible endpoints share: addresses, keys, the HTTP client, and reasons of failures.

use anyhow::{Result, bail};
use reqwest::header::{HeaderValue, LOCATION};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Response, StatusCode, Url};
use std::net::IpAddr;
use std::time::Duration;

/// Redirects that a call follows, one after another.
const MAX_REDIRECTS: usize = 3;

/// Whether a name is an endpoint's and not a checkpoint's.
pub(crate) fn is_endpoint(name: &str) -> bool {
    let lower = name.get(..8).unwrap_or(name).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// What is missing of a name that is no endpoint's but looks like one: `host:port/v1#model`.
pub(crate) fn scheme_hint(name: &str) -> Option<String> {
    let (address, _) = name.split_once('#')?;
    let host = address.split('/').next()?;
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let is_name = host.contains('.') && !host.starts_with('.');
    (has_port || is_name || host == "localhost").then(|| {
        format!("teacher {name} is an address without a scheme; give http://{name} or https://{name}")
    })
}

/// Splits `http://host:port/v1#model` into address and model. The address is written into logs, the store and the dataset's
/// folder, so it must not contain a secret.
pub(crate) fn address_and_model(name: &str) -> Result<(&str, &str)> {
    let Some((base, model)) = name.split_once('#').filter(|(_, model)| !model.is_empty()) else {
        bail!("{} names no model; give `http://host:port/v1#model`", without_secrets(name));
    };
    if without_secrets(base) != base {
        bail!(
            "{} has a user, a password or parameters, which would be written into logs and the dataset's folder; give keys in an environment variable with `--api-key-env` or `--header`, and parameters with `--query`",
            without_secrets(base)
        );
    }
    if let Some(part) = name.split(['/', '#', '?', '&', '=', ':']).find(|part| looks_secret(part)) {
        bail!(
            "{} contains what looks like an API key ({}...), which would be written into logs and the dataset's folder; give keys in an environment variable with `--api-key-env`",
            without_secrets(base).replace(part, "..."),
            part.chars().take(3).collect::<String>()
        );
    }
    Ok((base.trim_end_matches('/'), model))
}

/// Whether a part of an address looks like a key: it begins as keys of providers do, or is long and random.
pub(crate) fn looks_secret(part: &str) -> bool {
    const PREFIXES: [&str; 12] =
        ["sk-", "sk_", "hf_", "gsk_", "xai-", "AIza", "nvapi-", "key-", "r8_", "fw_", "pplx-", "Bearer "];
    let is_random = part.len() >= 32
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && part.bytes().any(|byte| byte.is_ascii_digit())
        && part.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_random || PREFIXES.iter().any(|prefix| part.len() > prefix.len() + 3 && part.starts_with(prefix))
}

/// An address without user, password and parameters.
fn without_secrets(name: &str) -> String {
    let (name, _) = name.split_once('?').unwrap_or((name, ""));
    let Some((scheme, rest)) = name.split_once("://") else { return name.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", host.rsplit_once('@').map_or(host, |(_, host)| host))
}

/// Reads the key in the environment variable that `--api-key-env` names.
pub(crate) fn key(variable: Option<&str>) -> Result<Option<String>> {
    variable.map(read_key).transpose()
}

/// Whether a text can be the name of an environment variable. A text that cannot may be a key, and is not repeated.
pub(crate) fn is_variable_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
        && !looks_secret(name)
}

fn read_key(name: &str) -> Result<String> {
    if !is_variable_name(name) {
        bail!(
            "`--api-key-env` takes the name of an environment variable, of letters, digits and `_`; if a key was given in its place, put it into a variable"
        );
    }
    let Ok(key) = std::env::var(name) else {
        bail!("`--api-key-env {name}`: the variable is not set, or is not text")
    };
    if key.trim() != key || key.is_empty() {
        bail!("the API key in {name} is empty or has white space or a line end around it; remove that");
    }
    if HeaderValue::from_str(&key).is_err() {
        bail!("the API key in {name} has characters that no HTTP header may have; set it again");
    }
    Ok(key)
}

/// A client whose calls may take this long. It follows redirects within the same server alone: calls carry prompts, and
/// whoever answers must not decide who gets them.
pub(crate) fn client(timeout: Duration) -> Result<reqwest::Client> {
    // Some gateways refuse clients without a name.
    let name = concat!("smoltalk/", env!("CARGO_PKG_VERSION"));
    let builder = reqwest::Client::builder().redirect(Policy::custom(within_server)).user_agent(name);
    Ok(builder.connect_timeout(Duration::from_secs(10)).timeout(timeout).build()?)
}

/// Follows a redirect that keeps the call as it is and the server that gets it.
fn within_server(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let is_kept = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let is_same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if is_kept && is_same && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// The address to which a response redirects, without its query.
pub(crate) fn redirect_target(response: &Response) -> Option<String> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let target = response.url().join(location).ok()?;
    Some(match target.host_str() {
        Some(host) => {
            let port = target.port().map_or_else(String::new, |port| format!(":{port}"));
            format!("{}://{host}{port}{}", target.scheme(), target.path())
        }
        None => format!("an address of the kind `{}:`", target.scheme()),
    })
}

/// What to know of an address: that its calls go through a proxy, or over the network without encryption.
pub(crate) fn exposure(base: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if base.scheme() != "http" {
        return None;
    }
    let host = base.host_str().unwrap_or_default();
    let proxy =
        ["http_proxy", "all_proxy"].into_iter().flat_map(|name| [name.to_owned(), name.to_uppercase()]);
    let set = |name: &String| variable(name).is_some_and(|value| !value.is_empty());
    if let Some(name) =
        proxy.filter(|name| *name != "HTTP_PROXY" || variable("REQUEST_METHOD").is_none()).find(set)
        && !is_excepted(host, &variable)
    {
        return Some(format!(
            "calls to {base} go through the proxy that {name} names, with prompts and keys unencrypted; set no_proxy={host} to call it directly"
        ));
    }
    let is_loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    (!is_loopback).then(|| {
        format!("prompts, replies and keys go to {base} unencrypted; give an https address if the network is not trusted")
    })
}

/// Whether `no_proxy` names a host.
fn is_excepted(host: &str, variable: &impl Fn(&str) -> Option<String>) -> bool {
    let list = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
    list.split(',').map(str::trim).any(|entry| {
        let entry = entry.trim_start_matches('.');
        entry == "*" || (!entry.is_empty() && (host == entry || host.ends_with(&format!(".{entry}"))))
    })
}

/// The innermost cause of a connection's failure, which is the useful one.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_recognized() {
        for name in ["127.0.0.1:8000/v1#m", "localhost/v1#m", "api.example.com/v1#org/m"] {
            assert!(
                !is_endpoint(name) && scheme_hint(name).unwrap().contains(&format!("http://{name}")),
                "{name}"
            );
        }
        for name in ["org/model", "./folder#1/model", "org/model#revision"] {
            assert_eq!(scheme_hint(name), None, "{name}");
        }
        assert!(is_endpoint("HTTP://host/v1#m") && is_endpoint("https://host/v1#m") && !is_endpoint("http"));
    }

    #[test]
    fn an_address_contains_no_secret() {
        let (base, model) = address_and_model("http://host:80/v1/#org/model@2").unwrap();
        assert_eq!((base, model), ("http://host:80/v1", "org/model@2"));
        for name in
            ["https://user:sesame@host/v1#m", "https://host/v1?key=sesame#m", "https://a:sesame@host/v1"]
        {
            let error = address_and_model(name).unwrap_err().to_string();
            assert!(error.contains("https://host/v1") && !error.contains("sesame"), "{error}");
        }
        for name in [
            "https://host/v1/sk-live-sesame#m",
            "https://host/v1#m?key=sk-live-sesame",
            "https://host/v1/hf_sesame12345#m",
            "https://host/0123456789abcdef0123456789sesame/v1#m",
        ] {
            let error = address_and_model(name).unwrap_err().to_string();
            assert!(error.contains("API key") && !error.contains("sesame"), "{error}");
        }
        for name in ["https://host/v1#org/model-2", "https://host:8000/openai/v1#Qwen2.5-72B-Instruct"] {
            address_and_model(name).unwrap();
        }
    }

    #[test]
    fn a_key_in_place_of_a_variable_is_not_repeated() {
        for name in ["sk-live-SECRET", "sk_live_SECRET", "hf_SECRET12345", "A=B", ""] {
            let error = key(Some(name)).unwrap_err().to_string();
            assert!(
                error.contains("name of an environment variable") && !error.contains("SECRET"),
                "{error}"
            );
        }
        assert!(key(Some("NO_SUCH_VARIABLE")).unwrap_err().to_string().contains("NO_SUCH_VARIABLE"));
        assert!(key(Some("PATH")).unwrap().is_some() && key(None).unwrap().is_none());
    }

    #[test]
    fn proxies_and_unencrypted_addresses_are_reported() {
        let of = |base: &str, set: &[(&str, &str)]| {
            let variable = |name: &str| {
                set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
            };
            exposure(&Url::parse(base).unwrap(), variable).unwrap_or_default()
        };
        let proxy = ("http_proxy", "http://proxy:3128");
        assert!(of("http://127.0.0.1:8000/v1", &[proxy]).contains("the proxy that http_proxy names"));
        assert_eq!(of("http://127.0.0.1:8000/v1", &[proxy, ("no_proxy", "localhost, 127.0.0.1")]), "");
        assert!(of("http://gpu.example/v1", &[("ALL_PROXY", "socks5://p:1")]).contains("ALL_PROXY"));
        assert!(of("http://gpu.example/v1", &[proxy, ("NO_PROXY", ".example")]).contains("unencrypted"));
        assert!(of("http://10.0.0.7/v1", &[]).contains("unencrypted"));
        for base in ["http://localhost/v1", "http://[::1]:8000/v1", "https://gpu.example/v1"] {
            assert_eq!(of(base, &[]), "");
        }
    }
}
