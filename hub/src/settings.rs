//! Where the hub is, which token opens it and where its files are cached: the variables of `huggingface_hub`
//! (<https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>).

use crate::error::Error;
use etcetera::BaseStrategy;
use etcetera::base_strategy::Xdg;
use reqwest::Url;
use std::path::{Path, PathBuf};

/// The hub's address, the token and the cache.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The hub, or a mirror: `HF_ENDPOINT`.
    pub(crate) endpoint: Url,
    pub(crate) token: Option<Token>,
    /// The folder with one folder a repository: `HF_HUB_CACHE`.
    pub(crate) cache: PathBuf,
    /// Whether nothing may be requested: `HF_HUB_OFFLINE`.
    pub(crate) is_offline: bool,
    /// Maximum size of a file whose size nobody says, in bytes.
    pub(crate) unlisted_limit: u64,
}

/// Files without a listed size are small ones of mirrors; one that never ends fills no disk.
const UNLISTED_LIMIT: u64 = 1 << 30;

/// A secret, and where it was found. It is never printed.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) secret: String,
    pub(crate) origin: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the token of {}", self.origin)
    }
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// When a variable's value cannot be used.
    pub fn from_environment() -> Result<Self, Error> {
        Self::read(&|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
    }

    /// A hub at an address, with a cache of its own.
    ///
    /// # Errors
    /// When the address or the token cannot be used.
    pub fn new(endpoint: &str, token: Option<&str>, cache: &Path) -> Result<Self, Error> {
        let cache = cache.to_str().map(str::to_owned);
        Self::read(&|name| match name {
            "HF_ENDPOINT" => Some(endpoint.to_owned()),
            "HF_TOKEN" => token.map(str::to_owned),
            "HF_HUB_CACHE" | "HF_HOME" => cache.clone(),
            _ => None,
        })
    }

    /// The hub's address, where the token was found (never the token), and the cache, on one line for people.
    pub fn description(&self) -> String {
        let token = match &self.token {
            Some(token) => format!("a token of {}", token.origin),
            None => "no token (HF_TOKEN)".to_owned(),
        };
        let offline = if self.is_offline { "; offline (HF_HUB_OFFLINE)" } else { "" };
        format!(
            "{}, {token}, cache {}{offline}",
            self.endpoint.as_str().trim_end_matches('/'),
            self.cache.display()
        )
    }

    /// Nothing is requested; what is in the cache is used.
    pub fn offline(mut self) -> Self {
        self.is_offline = true;
        self
    }

    /// Files whose size is neither listed nor sent are cut off after so many bytes.
    pub fn unlisted_limit(mut self, bytes: u64) -> Self {
        self.unlisted_limit = bytes;
        self
    }

    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let home = variable("HF_HOME").map_or_else(
            || {
                let cache = Xdg::new().map_or_else(|_| PathBuf::from("."), |folders| folders.cache_dir());
                variable("XDG_CACHE_HOME").map_or(cache, PathBuf::from).join("huggingface")
            },
            PathBuf::from,
        );
        let cache = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
        let offline = variable("HF_HUB_OFFLINE").or_else(|| variable("TRANSFORMERS_OFFLINE"));
        Ok(Self {
            endpoint: endpoint(variable)?,
            token: token(variable, &home)?,
            cache: cache.map_or_else(|| home.join("hub"), PathBuf::from),
            is_offline: offline.is_some_and(|value| is_true(&value)),
            unlisted_limit: UNLISTED_LIMIT,
        })
    }
}

/// The values that `huggingface_hub` takes for true.
fn is_true(value: &str) -> bool {
    matches!(value.trim().to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

fn endpoint(variable: &dyn Fn(&str) -> Option<String>) -> Result<Url, Error> {
    const NAME: &str = "HF_ENDPOINT";
    let text = variable(NAME).unwrap_or_else(|| "https://huggingface.co".to_owned());
    let refused = |reason: &str| Error::Variable {
        variable: NAME,
        value: text.clone(),
        reason: format!("{reason}; set it to an address such as https://huggingface.co"),
    };
    let url = Url::parse(text.trim().trim_end_matches('/')).map_err(|error| refused(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refused("not an http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(refused("an address with a user, a password or a query is not used"));
    }
    Ok(url)
}

fn token(variable: &dyn Fn(&str) -> Option<String>, home: &Path) -> Result<Option<Token>, Error> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(secret) = variable(name) {
            return checked(secret.trim(), name.to_owned()).map(Some);
        }
    }
    let file = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
    match std::fs::read_to_string(&file) {
        Ok(secret) if !secret.trim().is_empty() => {
            checked(secret.trim(), file.display().to_string()).map(Some)
        }
        _ => Ok(None),
    }
}

/// A token is one word; a file or a variable that holds anything else is named, its content is not.
fn checked(secret: &str, origin: String) -> Result<Token, Error> {
    if secret.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(Token { secret: secret.to_owned(), origin });
    }
    Err(Error::Variable {
        variable: "HF_TOKEN",
        value: format!("(hidden, from {origin})"),
        reason: "a token has no spaces, line ends or other special characters; set it again".to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        Settings::read(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        let cache = |variables: &[(&str, &str)]| settings(variables).unwrap().cache;
        assert_eq!(cache(&[("HF_HOME", "/h")]), PathBuf::from("/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]), PathBuf::from("/c"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/huggingface/hub"));
        assert!(cache(&[]).ends_with("huggingface/hub"));
    }

    #[test]
    fn the_token_is_a_variable_or_a_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        assert!(settings(&[("HF_HOME", home)]).unwrap().token.is_none());
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let token = |variables: &[(&str, &str)]| settings(variables).unwrap().token.unwrap();
        assert_eq!(token(&[("HF_HOME", home)]).secret, "hf_file");
        let both = token(&[("HF_HOME", home), ("HF_TOKEN", " hf_variable ")]);
        assert_eq!((both.secret.as_str(), both.origin.as_str()), ("hf_variable", "HF_TOKEN"));
        assert!(!format!("{both:?}").contains("hf_variable"));
        let error = settings(&[("HF_TOKEN", "hf_se\ncret")]).unwrap_err().to_string();
        assert!(error.contains("HF_TOKEN") && !error.contains("hf_se"), "{error}");
    }

    #[test]
    fn an_endpoint_that_is_no_plain_address_is_refused() {
        assert_eq!(settings(&[]).unwrap().endpoint.as_str(), "https://huggingface.co/");
        assert!(settings(&[("HF_HUB_OFFLINE", "yes")]).unwrap().is_offline);
        assert!(!settings(&[("HF_HUB_OFFLINE", "0")]).unwrap().is_offline);
        for value in ["huggingface.co", "ftp://a", "https://u:p@a", "https://a/?x=1", "file:///etc"] {
            let error = settings(&[("HF_ENDPOINT", value)]).unwrap_err().to_string();
            assert!(error.contains("`HF_ENDPOINT`") && error.contains(value), "{error}");
        }
    }
}
