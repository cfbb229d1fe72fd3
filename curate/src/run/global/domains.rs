//! Domains by their share of good pages, as FineMath chooses where to look again: the pages of a domain are kept together or
//! not at all. A domain is a host without `www.`; a list of public suffixes, which would join hosts, is not used.

use super::decide::Decide;
use crate::recipe::Domains;
use crate::run::part::Rows;
use crate::stage::url::host;
use anyhow::Result;
use serde_json::json;
use std::collections::HashMap;

/// Pages of a domain.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    pages: u64,
    good: u64,
}

/// Counts all pages, then decides by their domain. Pages without an address are dropped, because nothing is known of where
/// they are from.
pub(super) fn by_share(settings: &Domains, parts: impl Iterator<Item = Result<Rows>>) -> Result<Decide> {
    let settings = settings.clone();
    let mut domains: HashMap<String, Tally> = HashMap::new();
    for rows in parts {
        for row in rows? {
            let row = row?;
            let Some(url) = row.get("url").and_then(serde_json::Value::as_str) else { continue };
            let score = row.get(&settings.score).and_then(serde_json::Value::as_f64);
            let tally = domains.entry(domain(url)).or_default();
            tally.pages += 1;
            tally.good += u64::from(score.is_some_and(|score| score >= settings.at_least));
        }
    }
    Ok(Box::new(move |_, page| {
        let Some(url) = page.url.as_deref() else {
            return Some(("no_domain", serde_json::Value::Null, serde_json::Value::Null));
        };
        let Tally { pages, good } = domains.get(&domain(url)).copied().unwrap_or_default();
        let share = good as f64 / pages.max(1) as f64;
        page.values.insert("domain_share".to_owned(), json!(share));
        page.values.insert("domain_good_pages".to_owned(), json!(good));
        if good < settings.min_pages {
            return Some(("domain_good_pages", json!(good), json!(settings.min_pages)));
        }
        (share < settings.min_share).then(|| ("domain_share", json!(share), json!(settings.min_share)))
    }))
}

/// The domain of an address.
fn domain(url: &str) -> String {
    let host = host(url);
    host.strip_prefix("www.").map(str::to_owned).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_domain_is_a_host_without_www() {
        for (url, expected) in [
            ("https://www.math.org/a", "math.org"),
            ("http://Math.org:80", "math.org"),
            ("http://blog.math.org/", "blog.math.org"),
            ("www.math.org/x", "math.org"),
        ] {
            assert_eq!(super::domain(url), expected);
        }
    }
}
