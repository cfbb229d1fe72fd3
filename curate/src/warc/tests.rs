//! Archives made here: whole, damaged, cut off, hostile.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use std::io::Write;

fn record(kind: &str, url: &str, block: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-02T03:04:05Z\r\nContent-Type:\r\n application/http\r\nContent-Length: {}\r\n\r\n",
        block.len()
    )
    .into_bytes();
    bytes.extend_from_slice(block);
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

fn page(number: usize) -> Vec<u8> {
    let body = format!("<p>page {number} {}", "x".repeat(number * 100));
    let block = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\n\r\n{body}");
    record("response", &format!("http://example.com/{number}"), block.as_bytes())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Members of ten pages, after a record of another kind.
fn members(compress: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let info = record("warcinfo", "", b"software: none");
    std::iter::once(info).chain((0..10).map(page)).map(|record| compress(&record)).collect()
}

fn read(bytes: &[u8]) -> (Vec<String>, Losses) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.warc");
    std::fs::write(&path, bytes).unwrap();
    let mut records = Records::open(&path).unwrap();
    let mut urls = Vec::new();
    for record in &mut records {
        let record = record.unwrap();
        if record.kind == "response" {
            let body = response(&record.block).unwrap();
            assert_eq!(
                (body.status, body.media_type.as_str(), body.charset.as_deref()),
                (200, "text/html", Some("UTF-8"))
            );
            // A record is found again by its offset.
            let again =
                Records::open_at(&path, record.offset).unwrap().nth(record.index as usize).unwrap().unwrap();
            assert_eq!(again, record);
            urls.push(record.url.unwrap().rsplit('/').next().unwrap().to_owned());
        }
    }
    (urls, records.losses().clone())
}

const ALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

#[test]
fn archives_are_read_in_each_compression() {
    let plain = members(<[u8]>::to_vec).concat();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    for bytes in [plain.clone(), members(gzip).concat(), members(zstd).concat(), gzip(&plain), zstd(&plain)] {
        let (urls, losses) = read(&bytes);
        assert_eq!(urls, ALL);
        assert_eq!(losses, Losses::default());
    }
}

#[test]
fn a_dictionary_is_used() {
    let samples: Vec<Vec<u8>> = (0..200).map(|number| page(number % 20)).collect();
    let dictionary = zstd::dict::from_samples(&samples, 4096).unwrap();
    let mut bytes = vec![0x5d, 0x2a, 0x4d, 0x18];
    bytes.extend_from_slice(&(dictionary.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&dictionary);
    for member in members(|bytes| {
        zstd::bulk::Compressor::with_dictionary(3, &dictionary).unwrap().compress(bytes).unwrap()
    }) {
        bytes.extend_from_slice(&member);
    }
    assert_eq!(read(&bytes).0, ALL);
}

#[test]
fn damage_costs_only_the_records_it_hits() {
    for compress in
        [gzip as fn(&[u8]) -> Vec<u8>, |bytes| zstd::encode_all(bytes, 1).unwrap(), <[u8]>::to_vec]
    {
        let mut parts = members(compress);
        // A part of one is gone, another is garbage, and the last one is cut off.
        let length = parts[3].len();
        parts[3].drain(length - 30..length - 10);
        parts[6] = b"\r\nnothing that is a record\r\n".to_vec();
        let length = parts[10].len();
        parts[10].truncate(length / 2);
        let (urls, losses) = read(&parts.concat());
        // In a plain file the record after the one that is short is eaten by it, and found again.
        assert_eq!(
            urls.iter().filter(|url| !["2", "3"].contains(&url.as_str())).collect::<Vec<_>>(),
            ["0", "1", "4", "6", "7", "8"],
            "{losses:?}"
        );
        assert!(
            (2..=4).contains(&losses.damaged) && losses.named.len() as u64 == losses.damaged,
            "{losses:?}"
        );
    }
}

#[test]
fn large_and_endless_records_are_passed_over() {
    let large = record("response", "http://example.com/large", &vec![b'x'; LARGEST_BLOCK as usize + 1]);
    let endless =
        format!("WARC/1.0\r\nWARC-Type: response\r\nContent-Length: {}\r\n\r\n", u64::MAX).into_bytes();
    let header = [b"WARC/1.0\r\nWARC-Type: response\r\nX: ".to_vec(), vec![b'y'; 1 << 20]].concat();
    let bytes = [gzip(&large), gzip(&page(1)), gzip(&endless), gzip(&page(2)), gzip(&header), gzip(&page(3))]
        .concat();
    let (urls, losses) = read(&bytes);
    assert_eq!(urls, ["1", "2", "3"]);
    assert_eq!((losses.too_large, losses.damaged), (1, 2), "{losses:?}");
}

#[test]
fn bodies_are_expanded_within_bounds() {
    let answer = |headers: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: TEXT/HTML\r\n{headers}\r\n");
        response(&[head.as_bytes(), body].concat())
    };
    let bytes = |headers: &str, body: &[u8]| answer(headers, body).unwrap().bytes;
    assert_eq!(bytes("Content-Encoding: gzip\r\n", &gzip(b"text")), b"text");
    assert_eq!(bytes("Content-Encoding: gzip\r\n", b"expanded already"), b"expanded already");
    assert_eq!(bytes("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), b"abcde");
    assert_eq!(bytes("Transfer-Encoding: chunked\r\n", b"<p>joined already"), b"<p>joined already");
    let bomb = gzip(&vec![0; 40 << 20]);
    assert!(answer("Content-Encoding: gzip\r\n", &bomb).unwrap_err().contains("expands to more than"));
    assert!(answer("Content-Encoding: br\r\n", &[0xff, 0xfe]).unwrap_err().contains("`br`"));
    assert!(response(b"no header").is_err());
}

#[test]
fn a_file_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.warc");
    std::fs::write(&path, "{\"text\": 1}").unwrap();
    assert!(Records::open(&path).err().unwrap().to_string().contains("no WARC archive"));
}
