//! What a repository contains at one commit, as the hub lists it: names, sizes and hashes.
//!
//! The list is requested with `blobs=true`, so that a file's place in the cache follows from the list and not from the
//! headers of the answer that carries the file.

use crate::client::{Client, body};
use crate::error::Error;
use crate::id::{Id, Kind, is_plain_word, is_relative_path};
use reqwest::Method;
use serde::Deserialize;

/// The files of one commit.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// A plain word.
    pub(crate) commit: String,
    pub(crate) files: Vec<RemoteFile>,
}

/// One file; its name is a relative path that stays below its folder.
#[derive(Debug, Clone)]
pub(crate) struct RemoteFile {
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: Option<u64>,
    pub(crate) hash: Option<Hash>,
}

/// What names a file's content in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hash {
    /// SHA-256 of the bytes: large files.
    Sha256(String),
    /// SHA-1 of a git blob, which is a header with the length, and the bytes.
    Git(String),
}

impl Hash {
    /// The hexadecimal digits.
    pub(crate) fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) => digits,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Pointer>,
}

#[derive(Deserialize)]
struct Pointer {
    sha256: String,
}

/// Requests the list of a repository's files; returns the answer's bytes, too.
pub(crate) fn request(client: &Client, kind: Kind, id: &Id) -> Result<(Listing, Vec<u8>), Error> {
    let name = id.repository();
    let mut url = client.url(&format!("api/{}/{name}/revision", kind.plural()));
    // A revision is one part of the address, its separators encoded.
    if let Ok(mut parts) = url.path_segments_mut() {
        parts.push(id.revision());
    }
    url.query_pairs_mut().append_pair("blobs", "true");
    let what = format!("revision `{}`, or does not exist", id.revision());
    let response = client.request(&name, &what, &Method::GET, &url, &|request| request)?;
    let bytes = body(&name, response)?;
    Ok((parse(&bytes).map_err(|reason| Error::Refused { id: name, reason })?, bytes))
}

/// Reads an answer with a list; the error says what is wrong with it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Listing, String> {
    checked(serde_json::from_slice(bytes).map_err(|error| format!("its list: {error}"))?)
}

fn checked(answer: Answer) -> Result<Listing, String> {
    if !is_plain_word(&answer.sha) {
        return Err(format!("the commit {:?} is not a plain word", answer.sha));
    }
    let files: Result<Vec<RemoteFile>, String> = answer.siblings.into_iter().map(checked_file).collect();
    Ok(Listing { commit: answer.sha, files: files? })
}

fn checked_file(file: Sibling) -> Result<RemoteFile, String> {
    if !is_relative_path(&file.rfilename) {
        return Err(format!("the file name {:?} leads out of a folder", file.rfilename));
    }
    let is_hex =
        |text: &str, length: usize| text.len() == length && text.bytes().all(|c| c.is_ascii_hexdigit());
    let hash = match (file.lfs, file.blob_id) {
        (Some(pointer), _) if is_hex(&pointer.sha256, 64) => Some(Hash::Sha256(pointer.sha256)),
        (None, Some(id)) if is_hex(&id, 40) => Some(Hash::Git(id)),
        (None, None) => None,
        _ => return Err(format!("the hash of {:?} is not one", file.rfilename)),
    };
    Ok(RemoteFile { name: file.rfilename, size: file.size, hash })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Listing, String> {
        parse(text.as_bytes())
    }

    #[test]
    fn a_list_holds_names_sizes_and_hashes() {
        let git = "a".repeat(40);
        let sha256 = "b".repeat(64);
        let list = read(&format!(
            r#"{{"sha":"c0ffee","siblings":[{{"rfilename":"a/b.json","size":3,"blobId":"{git}"}},
                {{"rfilename":"m.safetensors","size":9,"blobId":"{git}","lfs":{{"sha256":"{sha256}","size":9}}}},
                {{"rfilename":"plain"}}]}}"#
        ))
        .unwrap();
        assert_eq!(list.commit, "c0ffee");
        let hashes: Vec<_> = list.files.iter().map(|file| file.hash.clone()).collect();
        assert_eq!(hashes, [Some(Hash::Git(git)), Some(Hash::Sha256(sha256)), None]);
    }

    #[test]
    fn a_list_that_leads_out_of_the_cache_is_refused() {
        for text in [
            r#"{"sha":"/tmp/x"}"#,
            r#"{"sha":".."}"#,
            r#"{"sha":""}"#,
            r#"{"sha":"c","siblings":[{"rfilename":"../x"}]}"#,
            r#"{"sha":"c","siblings":[{"rfilename":"/etc/passwd"}]}"#,
            r#"{"sha":"c","siblings":[{"rfilename":"x","blobId":"/etc/passwd"}]}"#,
            r#"{"sha":"c","siblings":[{"rfilename":"x","lfs":{"sha256":"../../x"}}]}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
