//! Grammars in llama.cpp's notation (GBNF), translated to the Lark notation of the constraint compiler.
//!
//! Everything that no rule refers to itself in becomes a terminal, which the compiler follows like a regular expression; only
//! what is left are rules. A terminal takes as much of the text as it can, so a grammar whose neighbors overlap may allow fewer
//! texts than in llama.cpp, never more.

mod lark;
mod parse;

/// The grammar in Lark notation.
///
/// # Errors
/// The line, what is there, and what is expected.
pub(crate) fn to_lark(source: &str) -> Result<String, String> {
    Ok(lark::written(&parse::Grammar::parse(source)?))
}

/// Whether a grammar is in this notation: only here a rule has its name before `::=`.
pub(crate) fn is_gbnf(source: &str) -> bool {
    let begins_rule =
        |line: &str| line.split_once("::=").is_some_and(|(name, _)| parse::is_name(name.trim()));
    source.lines().any(begins_rule)
}

#[cfg(test)]
mod tests;
