//! Addresses by lists, as datatrove's `URLFilter` decides, with lists that the user gives. One rule is wider: a listed
//! domain covers every domain below it, not only the registered one and the whole host name.

use crate::recipe::Url;
use anyhow::{Context, Result};
use std::collections::HashSet;

/// Soft words that an address must have to be dropped.
const SOFT: usize = 2;

/// The lists.
#[derive(Debug, Default)]
pub(super) struct Lists {
    domains: HashSet<String>,
    urls: HashSet<String>,
    words: HashSet<String>,
    soft_words: HashSet<String>,
    subwords: Vec<String>,
}

impl Lists {
    pub(super) fn read(lists: &Url) -> Result<Self> {
        let words = |path: &Option<String>| {
            entries(path.as_deref())
                .map(|list| list.iter().map(|word| normalized(word)).collect::<HashSet<_>>())
        };
        let mut subwords: Vec<String> =
            words(&lists.subwords)?.into_iter().filter(|word| !word.is_empty()).collect();
        subwords.sort();
        Ok(Self {
            domains: entries(lists.domains.as_deref())?
                .into_iter()
                .map(|domain| domain.to_ascii_lowercase())
                .collect(),
            urls: entries(lists.urls.as_deref())?.into_iter().collect(),
            words: words(&lists.words)?,
            soft_words: words(&lists.soft_words)?,
            subwords,
        })
    }

    /// Why an address is dropped, and the entry of the list.
    pub(super) fn check(&self, url: &str) -> Option<(&'static str, String)> {
        let mut host = host(url);
        while !host.is_empty() {
            if self.domains.contains(&host) {
                return Some(("domain", host));
            }
            host = host.split_once('.').map(|(_, above)| above.to_owned()).unwrap_or_default();
        }
        if self.urls.contains(url) {
            return Some(("url", url.to_owned()));
        }
        let words: HashSet<&str> = url.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
        let mut hard: Vec<&&str> = words.iter().filter(|word| self.words.contains(**word)).collect();
        hard.sort();
        if let Some(word) = hard.first() {
            return Some(("hard_blacklisted", (**word).to_owned()));
        }
        let mut soft: Vec<&str> =
            words.iter().copied().filter(|word| self.soft_words.contains(*word)).collect();
        if soft.len() >= SOFT {
            soft.sort_unstable();
            return Some(("soft_blacklisted", soft.join(", ")));
        }
        let joined = normalized(url);
        let subword = self.subwords.iter().find(|word| joined.contains(word.as_str()))?;
        Some(("blacklisted_subword", subword.clone()))
    }
}

/// The host of an address in lower case; empty for what is no address.
pub(crate) fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split(':').next().unwrap_or_default();
    host.trim_matches('.').to_ascii_lowercase()
}

/// Letters and digits alone, in lower case.
fn normalized(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

fn entries(path: Option<&str>) -> Result<Vec<String>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("stage `url`: cannot read {path}"))?;
    Ok(text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_lists() {
        let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let lists = Lists {
            domains: set(&["bad.com"]),
            urls: set(&["http://ok.org/one"]),
            words: set(&["casino"]),
            soft_words: set(&["free", "win"]),
            subwords: vec!["spamspam".to_owned()],
        };
        let reason = |url: &str| lists.check(url).map(|(reason, _)| reason);
        assert_eq!(reason("https://user@WWW.Bad.com:80/x"), Some("domain"));
        assert_eq!(reason("http://notbad.com/"), None);
        assert_eq!(reason("http://ok.org/one"), Some("url"));
        assert_eq!(reason("http://ok.org/casino-royale"), Some("hard_blacklisted"));
        assert_eq!(reason("http://ok.org/free"), None);
        assert_eq!(reason("http://ok.org/free/win"), Some("soft_blacklisted"));
        assert_eq!(reason("http://ok.org/a-spam-SPAM-b"), Some("blacklisted_subword"));
    }
}
