//! The archives of the web: a compressed one with damage at its end, a plain one, and rows with HTML.

use super::page::Page;
use anyhow::{Context, Result};
use files::atomic;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// Writes all pages, in their order.
pub(super) fn write(folder: &Path, pages: &[Page]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let (compressed, rest) = pages.split_at(pages.len() / 2);
    // Rows have no status and no media type.
    let (rows, plain): (Vec<&Page>, Vec<&Page>) = rest
        .iter()
        .enumerate()
        .map(|(at, page)| (at >= rest.len() / 2 && page.has_text(), page))
        .fold((Vec::new(), Vec::new()), |(mut rows, mut plain), (is_row, page)| {
            if is_row {
                rows.push(page);
            } else {
                plain.push(page);
            }
            (rows, plain)
        });
    let mut bytes = Vec::new();
    for page in compressed {
        let mut member = GzEncoder::new(Vec::new(), Compression::default());
        member.write_all(&record(page))?;
        bytes.extend(member.finish()?);
    }
    // What a broken transfer leaves.
    bytes.extend_from_slice(b"\x1f\x8b\x08\x00damaged");
    atomic::write(&folder.join("web-0.warc.gz"), bytes)?;
    atomic::write(
        &folder.join("web-1.warc"),
        plain.iter().flat_map(|page| record(page)).collect::<Vec<u8>>(),
    )?;
    let rows = rows.iter().map(|page| json!({"url": page.url, "html": page.response().2}).to_string() + "\n");
    atomic::write(&folder.join("web-2.jsonl"), rows.collect::<String>())?;
    Ok(())
}

/// A response as WARC stores it.
fn record(page: &Page) -> Vec<u8> {
    let (status, media_type, body) = page.response();
    let block = format!("HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\n\r\n{body}");
    format!(
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Date: 2026-01-01T00:00:00Z\r\nWARC-Target-URI: {}\r\nContent-Length: {}\r\n\r\n{block}\r\n\r\n",
        page.url,
        block.len()
    )
    .into_bytes()
}
