//! The HTTP response in a record: status, type, and the body without transfer and content encodings. The body is bounded,
//! whatever it expands to.

use super::LARGEST_BLOCK;
use std::io::Read;

/// A response's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Its status.
    pub status: u16,
    /// The media type in lower case, without parameters; empty without one.
    pub media_type: String,
    /// The character encoding that the header names.
    pub charset: Option<String>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Takes a response apart.
///
/// # Errors
/// A reason in a few words.
pub fn response(block: &[u8]) -> Result<Body, String> {
    let (head, body) = split_head(block).ok_or("no HTTP header")?;
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|line| line.split_whitespace().nth(1)).and_then(|status| status.parse().ok());
    let status = status.ok_or("no HTTP status")?;
    let headers: Vec<(&str, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let find =
        |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
    let mut bytes = body.to_vec();
    if find("Transfer-Encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked")) {
        // Crawlers that already joined the chunks leave the header as it was.
        bytes = joined_chunks(&bytes).unwrap_or(bytes);
    }
    if let Some(encoding) = find("Content-Encoding") {
        bytes = expanded(&bytes, encoding)?;
    }
    let content_type = find("Content-Type").unwrap_or_default();
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let charset = parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let charset = charset.map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned());
    Ok(Body { status, media_type: media_type.trim().to_ascii_lowercase(), charset, bytes })
}

fn split_head(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let crlf = block.windows(4).position(|window| window == b"\r\n\r\n").map(|at| (at, 4));
    let (at, length) =
        crlf.or_else(|| block.windows(2).position(|window| window == b"\n\n").map(|at| (at, 2)))?;
    block.starts_with(b"HTTP/").then(|| (&block[..at], &block[at + length..]))
}

/// The chunks of a body joined; `None` for a body that is not in chunks.
fn joined_chunks(body: &[u8]) -> Option<Vec<u8>> {
    let mut joined = Vec::with_capacity(body.len());
    let mut rest = body;
    loop {
        let end = rest.iter().take(64).position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 1..];
        if size == 0 {
            return Some(joined);
        }
        // A response that was cut off keeps what there is.
        let chunk = &rest[..size.min(rest.len())];
        joined.extend_from_slice(chunk);
        rest = &rest[chunk.len()..];
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        if rest.is_empty() {
            return Some(joined);
        }
    }
}

/// Undoes a content encoding.
fn expanded(bytes: &[u8], encoding: &str) -> Result<Vec<u8>, String> {
    let read = |reader: &mut dyn Read| {
        let mut plain = Vec::new();
        // What was read before a damaged end is used, as a browser does.
        let result = reader.take(LARGEST_BLOCK + 1).read_to_end(&mut plain);
        match result {
            _ if plain.len() as u64 > LARGEST_BLOCK => {
                Err(format!("its body expands to more than {LARGEST_BLOCK} bytes"))
            }
            Err(error) if plain.is_empty() => Err(format!("its body is not {encoding}: {error}")),
            _ => Ok(plain),
        }
    };
    match encoding.to_ascii_lowercase().as_str() {
        // Crawlers that store what they expanded often leave the header.
        "gzip" | "x-gzip" if !bytes.starts_with(&[0x1f, 0x8b]) => Ok(bytes.to_vec()),
        "gzip" | "x-gzip" => read(&mut flate2::read::MultiGzDecoder::new(bytes)),
        "deflate" if bytes.first().is_some_and(|byte| byte & 0x0f == 8) => {
            read(&mut flate2::read::ZlibDecoder::new(bytes))
        }
        "deflate" => read(&mut flate2::read::DeflateDecoder::new(bytes)),
        "zstd" => read(&mut zstd::Decoder::new(bytes).map_err(|error| error.to_string())?),
        "identity" | "" | "utf-8" | "none" => Ok(bytes.to_vec()),
        // A text that is there as it is was expanded already.
        _ if std::str::from_utf8(bytes).is_ok() => Ok(bytes.to_vec()),
        other => Err(format!("content encoding `{other}` is not read")),
    }
}
