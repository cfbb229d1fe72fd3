//! Uploads: the files of a folder become one commit of a repository.
//!
//! Small text files travel in the commit; large and binary ones are stored first by their SHA-256 (Git LFS's batch
//! protocol, <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>), which skips those the hub has. So an
//! upload that was interrupted continues when the same command is given again.

use crate::client::{Client, body, is_private};
use crate::download::on_own_thread;
use crate::error::Error;
use crate::id::{Id, Kind, is_relative_path};
use crate::settings::Settings;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use terminal::Progress;

/// Files in one question to the hub.
const BATCH: usize = 256;
/// Bytes of a file from which the hub decides how it is stored.
const SAMPLE: u64 = 512;

/// What to upload, and where to.
#[derive(Debug, Clone)]
pub struct Upload<'a> {
    /// The folder; its files keep their names.
    pub folder: &'a Path,
    /// Names below the folder, with `/` between folders.
    pub names: Vec<String>,
    /// The repository; it is created if it does not exist.
    pub id: &'a Id,
    /// What it contains.
    pub kind: Kind,
    /// Whether a repository that is created is readable by its owner only.
    pub is_private: bool,
    /// The commit's first line.
    pub summary: &'a str,
}

/// Uploads files as one commit; returns the commit's address.
///
/// # Errors
/// Without a token that may write, without a network, and when a file cannot be read.
pub fn upload(settings: Settings, upload: &Upload<'_>) -> Result<String, Error> {
    on_own_thread(|| {
        let client = Client::new(settings)?;
        let id = upload.id.repository();
        if !client.is_authorized(&client.url("api")) {
            return Err(Error::NeedsToken { id, message: String::new() });
        }
        if upload.names.is_empty() {
            return Err(Error::NothingToUpload(upload.folder.to_owned()));
        }
        let session = Session { client: &client, upload, id };
        session.create()?;
        let mut files: Vec<LocalFile> =
            upload.names.iter().map(|name| session.read(name)).collect::<Result<_, _>>()?;
        session.choose_storage(&mut files)?;
        session.store(&files)?;
        session.commit(&files)
    })
}

struct Session<'a> {
    client: &'a Client,
    upload: &'a Upload<'a>,
    /// `owner/name`.
    id: String,
}

struct LocalFile {
    name: String,
    path: PathBuf,
    size: u64,
    sha256: String,
    sample: Vec<u8>,
    /// Stored by its hash; otherwise a part of the commit.
    is_stored: bool,
    /// The hub's own rules leave it out.
    is_ignored: bool,
}

impl Session<'_> {
    /// Makes the repository, if it is not there.
    fn create(&self) -> Result<(), Error> {
        let kind = match self.upload.kind {
            Kind::Model => "model",
            Kind::Dataset => "dataset",
        };
        let request = json!({
            "name": self.upload.id.name(), "organization": self.upload.id.owner(),
            "type": kind, "private": self.upload.is_private,
        });
        let url = self.client.url("api/repos/create");
        let response =
            self.client.send_patiently(&self.id, &Method::POST, &url, &|post| post.json(&request))?;
        // 409: it exists. 403: the token may write to it and not create it; the next answer says so.
        match response.status().is_success() || matches!(response.status().as_u16(), 403 | 409) {
            true => Ok(()),
            false => Err(self.client.refusal(&self.id, "such owner", &url, response)),
        }
    }

    fn read(&self, name: &str) -> Result<LocalFile, Error> {
        if !is_relative_path(name) {
            return Err(Error::FileName(name.to_owned()));
        }
        let path = self.upload.folder.join(name);
        let unreadable = |reason| Error::from(files::Error::file("read", &path, reason));
        let file = File::open(&path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut sample = Vec::new();
        file.take(SAMPLE).read_to_end(&mut sample).map_err(unreadable)?;
        let sha256 = files::hash::sha256_of_file(&path)?;
        Ok(LocalFile {
            name: name.to_owned(),
            path,
            size,
            sha256,
            sample,
            is_stored: false,
            is_ignored: false,
        })
    }

    fn post(&self, url: &Url, value: &Value) -> Result<Value, Error> {
        let response =
            self.client.request(&self.id, "such revision", &Method::POST, url, &|post| post.json(value))?;
        let bytes = body(&self.id, response)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Refused { id: self.id.clone(), reason: format!("{url}: {error}") })
    }

    fn api(&self, action: &str) -> Url {
        let mut url = self.client.url(&format!("api/{}/{}/{action}", self.upload.kind.plural(), self.id));
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.push(self.upload.id.revision());
        }
        url
    }

    /// Asks which files are stored by their hash.
    fn choose_storage(&self, files: &mut [LocalFile]) -> Result<(), Error> {
        for batch in files.chunks_mut(BATCH) {
            let list: Vec<Value> = batch
                .iter()
                .map(|file| {
                    let sample = BASE64_STANDARD.encode(&file.sample);
                    json!({"path": file.name, "sample": sample, "size": file.size})
                })
                .collect();
            let answer = self.post(&self.api("preupload"), &json!({"files": list}))?;
            let rules: HashMap<&str, &Value> = answer["files"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|rule| Some((rule["path"].as_str()?, rule)))
                .collect();
            for file in batch {
                let rule = rules.get(file.name.as_str()).copied().unwrap_or(&Value::Null);
                // An empty file has no content to store.
                file.is_stored = rule["uploadMode"] == "lfs" && file.size > 0;
                file.is_ignored = rule["shouldIgnore"] == true;
            }
        }
        Ok(())
    }

    /// Stores the large files that the hub does not have.
    fn store(&self, files: &[LocalFile]) -> Result<(), Error> {
        let wanted: Vec<&LocalFile> =
            files.iter().filter(|file| file.is_stored && !file.is_ignored).collect();
        let total: u64 = wanted.iter().map(|file| file.size).sum();
        let progress = Progress::new(format!("uploading to {}", self.id), "MiB", Some(total >> 20));
        let mut url = self.client.url(&format!("{}{}.git", self.upload.kind.prefix(), self.id));
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.extend(["info", "lfs", "objects", "batch"]);
        }
        let mut sent = 0;
        for batch in wanted.chunks(BATCH) {
            let objects: Vec<Value> =
                batch.iter().map(|file| json!({"oid": file.sha256, "size": file.size})).collect();
            let question = json!({"operation": "upload", "transfers": ["basic", "multipart"], "objects": objects,
                "hash_algo": "sha256"});
            let answer = self.post(&url, &question)?;
            for object in answer["objects"].as_array().into_iter().flatten() {
                let Some(file) = batch.iter().find(|file| object["oid"] == file.sha256.as_str()) else {
                    continue;
                };
                self.store_one(file, object)?;
                sent += file.size;
                progress.set(sent >> 20);
            }
        }
        progress.finish();
        Ok(())
    }

    /// Sends one content to the address that the hub names; none means that the hub has it.
    fn store_one(&self, file: &LocalFile, object: &Value) -> Result<(), Error> {
        if let Some(reason) = object["error"]["message"].as_str() {
            let reason = format!("{} is not taken: {reason}", file.name);
            return Err(Error::Refused { id: self.id.clone(), reason });
        }
        let action = &object["actions"]["upload"];
        let Some(address) = action["href"].as_str() else { return Ok(()) };
        let headers = &action["header"];
        match headers["chunk_size"]
            .as_str()
            .and_then(|size| size.parse::<u64>().ok())
            .filter(|size| *size > 0)
        {
            Some(size) => self.send_parts(file, address, headers, size)?,
            None => drop(self.put(file, address, 0, file.size, headers)?),
        }
        if let Some(address) = object["actions"]["verify"]["href"].as_str() {
            let url = self.address(address)?;
            let value = json!({"oid": file.sha256, "size": file.size});
            self.client.request(&self.id, "such object", &Method::POST, &url, &|post| post.json(&value))?;
        }
        Ok(())
    }

    /// Sends a content in parts, each to its own address, and then says which parts there are.
    fn send_parts(&self, file: &LocalFile, address: &str, headers: &Value, size: u64) -> Result<(), Error> {
        let mut parts = Vec::new();
        for number in 1..=file.size.div_ceil(size) {
            let target =
                headers[format!("{number:05}")].as_str().or_else(|| headers[number.to_string()].as_str());
            let target = target.ok_or_else(|| Error::Refused {
                id: self.id.clone(),
                reason: format!("no address for part {number} of {}", file.name),
            })?;
            let from = (number - 1) * size;
            let tag = self.put(file, target, from, size.min(file.size - from), &Value::Null)?;
            parts.push(json!({"partNumber": number, "etag": tag}));
        }
        let url = self.address(address)?;
        let value = json!({"oid": file.sha256, "parts": parts});
        self.client.request(&self.id, "such upload", &Method::POST, &url, &|post| {
            post.header(CONTENT_TYPE, "application/vnd.git-lfs+json").body(value.to_string())
        })?;
        Ok(())
    }

    /// Sends bytes of a file; returns the entity tag of the answer.
    fn put(
        &self,
        file: &LocalFile,
        address: &str,
        from: u64,
        count: u64,
        headers: &Value,
    ) -> Result<String, Error> {
        let url = self.address(address)?;
        let open = || {
            let mut opened = File::open(&file.path)?;
            opened.seek(SeekFrom::Start(from))?;
            Ok(opened)
        };
        // Whether the file can be read is known here; a failure later ends the request.
        open().map_err(|reason| Error::from(files::Error::file("read", &file.path, reason)))?;
        let response = self.client.request(&self.id, "such upload", &Method::PUT, &url, &|mut put| {
            for (name, value) in headers.as_object().into_iter().flatten() {
                if let Some(value) = value.as_str() {
                    put = put.header(name, value);
                }
            }
            match open() {
                Ok(opened) => put.body(reqwest::blocking::Body::sized(opened.take(count), count)),
                Err(_) => put,
            }
        })?;
        Ok(crate::client::header(response.headers(), "etag").unwrap_or_default())
    }

    /// An address that the hub names for contents: encrypted, or on this machine.
    fn address(&self, text: &str) -> Result<Url, Error> {
        match Url::parse(text) {
            Ok(url) if is_private(&url) => Ok(url),
            _ => Err(Error::Refused {
                id: self.id.clone(),
                reason: "an address for uploads that is not encrypted".to_owned(),
            }),
        }
    }

    /// Makes the commit; returns its address.
    fn commit(&self, files: &[LocalFile]) -> Result<String, Error> {
        let mut lines =
            vec![json!({"key": "header", "value": {"summary": self.upload.summary, "description": ""}})];
        for file in files.iter().filter(|file| !file.is_ignored) {
            lines.push(if file.is_stored {
                json!({"key": "lfsFile", "value":
                    {"path": file.name, "algo": "sha256", "oid": file.sha256, "size": file.size}})
            } else {
                let bytes = std::fs::read(&file.path);
                let bytes = bytes.map_err(|reason| files::Error::file("read", &file.path, reason))?;
                json!({"key": "file", "value":
                    {"path": file.name, "content": BASE64_STANDARD.encode(bytes), "encoding": "base64"}})
            });
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let response =
            self.client.request(&self.id, "such revision", &Method::POST, &self.api("commit"), &|post| {
                post.header(CONTENT_TYPE, "application/x-ndjson").body(text.clone())
            })?;
        let answer: Value = serde_json::from_slice(&body(&self.id, response)?).unwrap_or_default();
        let address = answer["commitUrl"].as_str().map(terminal::printable);
        Ok(address.unwrap_or_else(|| {
            self.client.url(&format!("{}{}", self.upload.kind.prefix(), self.id)).to_string()
        }))
    }
}
