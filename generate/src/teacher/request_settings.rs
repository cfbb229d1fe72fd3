//! What the user adds to the requests of a teacher, takes out of them, or sends beside them: `--request`, `--extra-body`,
//! `--header`, `--query`, `--max-tokens`.

use crate::endpoint;
use anyhow::{Context, Result, bail, ensure};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The role of a teacher in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Main,
    Judge,
    Reward,
    Safety,
    Completion,
}

impl Role {
    /// All of them by their names on the command line.
    pub(crate) const ALL: [(&str, Self); 5] = [
        ("main", Self::Main),
        ("judge", Self::Judge),
        ("reward", Self::Reward),
        ("safety", Self::Safety),
        ("completion", Self::Completion),
    ];
}

/// The options as they were given, each `[ROLE:]VALUE`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestOptions<'a> {
    pub(crate) request: &'a [String],
    pub(crate) extra_body: &'a [String],
    pub(crate) header: &'a [String],
    pub(crate) query: &'a [String],
    pub(crate) max_tokens: &'a [String],
}

/// The settings of one role.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RequestSettings {
    /// Fields of the body in place of those that the recipe gives.
    set: Map<String, Value>,
    left_out: BTreeSet<String>,
    /// Their values are secrets.
    pub(crate) headers: HeaderMap,
    pub(crate) query: Vec<(String, String)>,
    /// In place of the recipe's, for every step.
    pub(crate) max_tokens: Option<usize>,
}

impl RequestSettings {
    /// Reads the options of a role. Without a role, an option is the main teacher's.
    ///
    /// # Errors
    /// Names the option and what is expected.
    pub(crate) fn read(options: &RequestOptions<'_>, role: Role) -> Result<Self> {
        let mut settings = Self::default();
        for option in of_role(options.extra_body, role) {
            let object = serde_json::from_str::<Map<String, Value>>(option);
            settings.set.extend(
                object.context("an `--extra-body` is no JSON object; give one such as '{\"top_k\": 20}'")?,
            );
        }
        for option in of_role(options.request, role) {
            settings.add_field(option)?;
        }
        for (key, value) in &settings.set {
            // What is set is in run.json and the dataset card.
            ensure!(
                !contains_secret(value),
                "`{key}` (`--request`, `--extra-body`) looks like an API key, which would be in run.json and the dataset card; \
                 give it with `--header NAME=VARIABLE` or `--api-key-env`"
            );
        }
        for option in of_role(options.header, role) {
            settings.add_header(option)?;
        }
        for option in of_role(options.query, role) {
            let pair = option.split_once('=').filter(|(key, _)| !key.is_empty());
            let (key, value) = pair.with_context(|| format!("`--query {option}` is not KEY=VALUE"))?;
            // Addresses are in logs; a key that is given as a parameter would be, too.
            ensure!(
                !endpoint::looks_secret(value),
                "`--query {key}=...` looks like an API key, which is in addresses and so in logs of servers; give it \
                 with `--header NAME=VARIABLE` or `--api-key-env`"
            );
            settings.query.push((key.to_owned(), value.to_owned()));
        }
        for option in of_role(options.max_tokens, role) {
            let number = option.parse().ok().filter(|number| *number > 0);
            settings.max_tokens =
                Some(number.with_context(|| format!("`--max-tokens {option}` is no number of at least 1"))?);
        }
        Ok(settings)
    }

    /// Adds `KEY=JSON` or `-KEY`.
    fn add_field(&mut self, option: &str) -> Result<()> {
        if let Some(key) = option.strip_prefix('-').filter(|key| !key.is_empty()) {
            ensure!(
                !["messages", "prompt", "model"].contains(&key),
                "`--request -{key}`: no teacher can be asked without it; remove the option"
            );
            self.left_out.insert(key.to_owned());
            return Ok(());
        }
        let Some((key, value)) = option.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            bail!("a `--request` is neither KEY=JSON nor -KEY, such as top_k=20 or -seed")
        };
        let value = serde_json::from_str(value).with_context(|| {
            format!(
                "`--request {key}=...`: the value is not JSON; texts have quotation marks: {key}='\"TEXT\"'"
            )
        })?;
        self.set.insert(key.to_owned(), value);
        Ok(())
    }

    /// Adds `NAME=VARIABLE`: the header's value is in the environment, because it may be a key.
    fn add_header(&mut self, option: &str) -> Result<()> {
        let Some((name, variable)) = option.split_once('=') else {
            bail!("a `--header` is not NAME=VARIABLE, a header and the environment variable of its value")
        };
        let header = HeaderName::try_from(name).with_context(|| format!("`--header {name}=...`"))?;
        let secret = endpoint::key(Some(variable)).with_context(|| format!("`--header {name}=...`"))?;
        let mut value = HeaderValue::try_from(secret.unwrap_or_default())?;
        value.set_sensitive(true);
        self.headers.insert(header, value);
        Ok(())
    }

    /// Changes the body of a request.
    pub(crate) fn apply(&self, body: &mut Value) {
        let Some(fields) = body.as_object_mut() else { return };
        fields.retain(|name, _| !self.left_out.contains(name));
        for (name, value) in &self.set {
            fields.insert(name.clone(), value.clone());
        }
    }

    /// Whether the user decided about a field.
    pub(crate) fn decides(&self, field: &str) -> bool {
        self.set.contains_key(field) || self.left_out.contains(field)
    }

    /// Whether the length of answers is not sent, so that nothing bounds what a call costs.
    pub(crate) fn has_endless_answers(&self) -> bool {
        self.left_out.contains("max_tokens")
            && !["max_tokens", "max_completion_tokens"].iter().any(|name| self.set.contains_key(*name))
    }

    /// Whether anything but the length of answers is given.
    pub(crate) fn concerns_endpoint(&self) -> bool {
        *self != Self { max_tokens: self.max_tokens, ..Self::default() }
    }

    /// What is sent differently, for the dataset's description; headers are secrets and left out. `None` if nothing is.
    pub(crate) fn description(&self) -> Option<Value> {
        let Self { set, left_out, query, max_tokens, .. } = self;
        if set.is_empty() && left_out.is_empty() && query.is_empty() && max_tokens.is_none() {
            return None;
        }
        Some(json!({"set": set, "left_out": left_out, "query": query, "max_tokens": max_tokens}))
    }
}

/// Whether a value is, or has inside, what looks like an API key.
fn contains_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => endpoint::looks_secret(text),
        Value::Array(values) => values.iter().any(contains_secret),
        Value::Object(fields) => fields.values().any(contains_secret),
        _ => false,
    }
}

/// The options of a role, without its name.
fn of_role(options: &[String], role: Role) -> impl Iterator<Item = &str> {
    options.iter().filter_map(move |option| {
        let named = option.split_once(':').and_then(|(name, rest)| {
            Role::ALL.iter().find(|(known, _)| *known == name).map(|(_, role)| (*role, rest))
        });
        let (of, value) = named.unwrap_or((Role::Main, option));
        (of == role).then_some(value)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn texts(options: &[&str]) -> Vec<String> {
        options.iter().map(|option| (*option).to_owned()).collect()
    }

    #[test]
    fn each_role_has_its_own_requests() {
        let (request, extra) =
            (texts(&["-seed", "judge:-top_p", "stop=[\"a:b\"]"]), texts(&["{\"enable_thinking\": false}"]));
        let (query, max) = (texts(&["api-version=2024-10-21"]), texts(&["4096", "judge:256"]));
        let options = RequestOptions {
            request: &request,
            extra_body: &extra,
            query: &query,
            max_tokens: &max,
            header: &[],
        };
        let main = RequestSettings::read(&options, Role::Main).unwrap();
        let mut body = json!({"model": "m", "seed": 1, "top_p": 1.0});
        main.apply(&mut body);
        assert_eq!(body, json!({"model": "m", "top_p": 1.0, "enable_thinking": false, "stop": ["a:b"]}));
        assert_eq!((main.max_tokens, main.query[0].1.as_str()), (Some(4096), "2024-10-21"));
        assert!(main.decides("seed") && main.decides("stop") && !main.decides("top_p"));
        let judge = RequestSettings::read(&options, Role::Judge).unwrap();
        let mut body = json!({"seed": 1, "top_p": 1.0});
        judge.apply(&mut body);
        assert_eq!((body, judge.max_tokens), (json!({"seed": 1}), Some(256)));
        assert_eq!(RequestSettings::read(&options, Role::Safety).unwrap().description(), None);
    }

    #[test]
    fn options_that_cannot_be_sent_are_refused_and_no_key_is_repeated() {
        let refused = |request: &[&str], header: &[&str], query: &[&str]| {
            let (request, header, query) = (texts(request), texts(header), texts(query));
            let options = RequestOptions {
                request: &request,
                header: &header,
                query: &query,
                ..RequestOptions::default()
            };
            format!("{:#}", RequestSettings::read(&options, Role::Main).unwrap_err())
        };
        assert!(refused(&["effort=low"], &[], &[]).contains("effort='\"TEXT\"'"));
        assert!(refused(&["seed"], &[], &[]).contains("neither KEY=JSON nor -KEY"));
        let key = refused(&["user_key=\"sk-SECRET123\""], &[], &[]);
        assert!(key.contains("`user_key`") && key.contains("--header") && !key.contains("SECRET"), "{key}");
        assert!(refused(&["-messages"], &[], &[]).contains("no teacher can be asked without it"));
        for (header, query) in [("api-key=sk-live-SECRET", ""), ("", "key=sk-live-SECRET")] {
            let list = |one: &str| if one.is_empty() { vec![] } else { vec![one.to_owned()] };
            let (header, query) = (list(header), list(query));
            let options = RequestOptions { header: &header, query: &query, ..RequestOptions::default() };
            let error = format!("{:#}", RequestSettings::read(&options, Role::Main).unwrap_err());
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
