//! Addresses of people and machines in a text are replaced, as datatrove's `PIIFormatter` does. Replacements take turns
//! within a text, not across texts: the same text becomes the same whatever was read before.

use super::{Outcome, Text};
use fancy_regex::Regex;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::LazyLock;

/// What is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pii {
    /// Replace e-mail addresses.
    pub emails: bool,
    /// Replace public IPv4 addresses.
    pub ips: bool,
}

impl Default for Pii {
    fn default() -> Self {
        Self { emails: true, ips: true }
    }
}

const EMAILS: [&str; 2] = ["email@example.com", "firstname.lastname@example.org"];
/// Addresses that answered nothing when datatrove's authors chose them.
const IPS: [&str; 6] =
    ["22.214.171.124", "126.96.36.199", "188.8.131.52", "184.108.40.206", "220.127.116.11", "18.104.22.168"];

static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    let local = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
    let label = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
    let octet = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)";
    let literal = format!("\\[(?:{octet}\\.){{3}}(?:{octet}|[A-Za-z0-9-]*[A-Za-z0-9]:)\\]");
    Regex::new(&format!("\\b{local}(?:\\.{local})*@(?:(?:{label}\\.)+{label}|{literal})"))
        .expect("the pattern compiles")
});

static IP: LazyLock<Regex> = LazyLock::new(|| {
    let octet = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)";
    Regex::new(&format!("(?:{octet}\\.){{3}}{octet}")).expect("the pattern compiles")
});

impl Pii {
    /// Replaces the addresses; no text is dropped.
    pub fn apply(&self, text: &Text<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut masked: Option<String> = None;
        let current = |masked: &Option<String>| masked.clone().unwrap_or_else(|| text.as_str().to_owned());
        if self.emails && text.as_str().contains('@') {
            let (replaced, count) = replace(&current(&masked), &EMAIL, &EMAILS, |_| true);
            outcome.measure("emails", count as f64);
            masked = (count > 0).then_some(replaced).or(masked);
        }
        if self.ips && text.as_str().bytes().filter(|byte| *byte == b'.').count() >= 3 {
            let (replaced, count) = replace(&current(&masked), &IP, &IPS, is_public);
            outcome.measure("ips", count as f64);
            masked = (count > 0).then_some(replaced).or(masked);
        }
        outcome.text = masked;
        outcome
    }
}

fn replace(
    text: &str,
    pattern: &Regex,
    replacements: &[&str],
    is_replaced: impl Fn(&str) -> bool,
) -> (String, usize) {
    let mut replaced = String::with_capacity(text.len());
    let (mut end, mut count) = (0, 0);
    // A match that costs too much to find ends the search; the rest stays as it is.
    for found in pattern.find_iter(text).map_while(Result::ok) {
        if is_replaced(found.as_str()) {
            replaced.push_str(&text[end..found.start()]);
            replaced.push_str(replacements[count % replacements.len()]);
            end = found.end();
            count += 1;
        }
    }
    replaced.push_str(&text[end..]);
    (replaced, count)
}

/// Whether an address is one that the world can reach (IANA's registry of special addresses), written without leading zeros.
fn is_public(text: &str) -> bool {
    let Ok(address) = text.parse::<Ipv4Addr>() else { return false };
    let [a, b, c, d] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0 && !matches!(d, 9 | 10))
        || (a == 198 && (18..20).contains(&b));
    !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_replaced() {
        let text = Text::new(
            "Write to a.b+c@d-e.co.uk or x@y.org; z@q.de at 8.8.8.8, not 192.168.0.1, 1.2.3 or 10.0.0.7.",
        );
        let outcome = Pii::default().apply(&text);
        let expected = "Write to email@example.com or firstname.lastname@example.org; email@example.com at 22.214.171.124, not 192.168.0.1, 1.2.3 or 10.0.0.7.";
        assert_eq!(outcome.text.as_deref(), Some(expected));
        assert_eq!(outcome.values, [("emails", 3.0), ("ips", 1.0)]);
        assert_eq!(Pii::default().apply(&Text::new("nothing here")).text, None);
    }
}
