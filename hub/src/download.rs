//! Downloads: a repository at one commit, and its files in the cache. A download that was interrupted is resumed, and
//! is compared with the hub's size and hash before it gets its name.

use crate::cache::{Cache, create_folder_of};
use crate::client::{Client, header};
use crate::error::Error;
use crate::id::{Id, Kind, is_plain_word};
use crate::listing::{self, Hash, Listing, RemoteFile};
use crate::settings::Settings;
use files::disk::free_bytes;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, StatusCode, Url};
use sha1::{Digest, Sha1};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use terminal::Progress;

/// Attempts at a file whose connection breaks; each resumes.
const ATTEMPTS: u32 = 5;
/// Between an answer and the disk, in bytes.
const PIECE: usize = 1 << 17;

/// A repository at one commit.
#[derive(Debug)]
pub struct Repository {
    id: Id,
    kind: Kind,
    /// `None` where only the cache is used.
    client: Option<Client>,
    cache: Cache,
    listing: Listing,
    names: Vec<String>,
}

impl Repository {
    /// Requests the list of files of `id`'s revision. Without a connection, or with `HF_HUB_OFFLINE`, the list is the one
    /// that was kept; for a repository that another program downloaded, it is what the cache holds.
    ///
    /// # Errors
    /// When there is no such repository, no access to it, or no network and nothing in the cache.
    pub fn open(settings: Settings, kind: Kind, id: &Id) -> Result<Self, Error> {
        on_own_thread(|| Self::find(settings, kind, id))
    }

    fn find(settings: Settings, kind: Kind, id: &Id) -> Result<Self, Error> {
        let cache = Cache::new(&settings.cache, kind, id);
        let cached = |cache: Cache| {
            let commit = cache.commit(id.revision())?;
            let file = |name| RemoteFile { name, size: None, hash: None };
            let listing = cache.listing(&commit).unwrap_or_else(|| {
                terminal::message!(
                    "note: {id} may have more files than the cache holds; its list was not kept"
                );
                Listing { files: cache.names(&commit).into_iter().map(file).collect(), commit }
            });
            Some(Self::with(id, kind, None, cache, listing))
        };
        if settings.is_offline {
            return cached(cache).ok_or_else(|| Error::Offline(id.to_string()));
        }
        let client = Client::new(settings)?;
        match listing::request(&client, kind, id) {
            Ok((listing, answer)) => {
                cache.keep_commit(id.revision(), &listing.commit)?;
                cache.keep_listing(&listing.commit, &answer)?;
                Ok(Self::with(id, kind, Some(client), cache, listing))
            }
            Err(error @ (Error::Unreachable { .. } | Error::Status { .. })) => {
                let repository = cached(cache).ok_or(error)?;
                let commit = &repository.listing.commit;
                terminal::message!(
                    "note: the hub cannot be reached; using commit {commit} of {id} from the cache"
                );
                Ok(repository)
            }
            Err(error) => Err(error),
        }
    }

    fn with(id: &Id, kind: Kind, client: Option<Client>, cache: Cache, listing: Listing) -> Self {
        let names = listing.files.iter().map(|file| file.name.clone()).collect();
        Self { id: id.clone(), kind, client, cache, listing, names }
    }

    /// The names of its files, with `/` between folders.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The commit, for a record of what was used.
    pub fn commit(&self) -> &str {
        &self.listing.commit
    }

    /// Downloads files, or finds them in the cache. Returns the folder in which all have their names.
    ///
    /// # Errors
    /// Names the file that cannot be downloaded or is not what the hub lists.
    pub fn fetch<Name: AsRef<str> + Sync>(&self, names: &[Name]) -> Result<PathBuf, Error> {
        on_own_thread(|| {
            for name in names {
                self.fetch_file(name.as_ref())?;
            }
            Ok(self.cache.snapshot(self.commit()))
        })
    }

    fn fetch_file(&self, name: &str) -> Result<(), Error> {
        let missing = || Error::Missing {
            id: self.id.to_string(),
            what: format!("file `{name}`"),
            message: String::new(),
        };
        let file = self.listing.files.iter().find(|file| file.name == name).ok_or_else(missing)?;
        let path = self.cache.snapshot(self.commit()).join(name);
        let has_size = |path: &Path| {
            std::fs::metadata(path)
                .is_ok_and(|found| found.is_file() && file.size.is_none_or(|size| size == found.len()))
        };
        if has_size(&path) {
            return Ok(());
        }
        let absent = || Error::Offline(format!("{name} of {}", self.id));
        let client = self.client.as_ref().ok_or_else(absent)?;
        let hash = self.hash(client, file)?;
        let _lock = self.cache.lock(&hash)?;
        let blob = self.cache.blob(&hash);
        if !has_size(&blob) {
            self.download(client, file, &blob)?;
        }
        self.cache.link(self.commit(), name, &hash).map(drop)
    }

    /// The address of a file. The host that holds it is found by a redirect.
    fn url(&self, client: &Client, file: &RemoteFile) -> Url {
        client.url(&format!(
            "{}{}/resolve/{}/{}",
            self.kind.prefix(),
            self.id.repository(),
            self.commit(),
            file.name
        ))
    }

    /// The word under which a content is cached: its hash. A mirror that does not list it sends it as an entity tag.
    fn hash(&self, client: &Client, file: &RemoteFile) -> Result<String, Error> {
        if let Some(hash) = &file.hash {
            return Ok(hash.digits().to_owned());
        }
        let (id, url) = (self.id.to_string(), self.url(client, file));
        let response =
            client.request(&id, &format!("file `{}`", file.name), &Method::HEAD, &url, &|head| head)?;
        let tag = ["x-linked-etag", "etag"].into_iter().find_map(|name| header(response.headers(), name));
        let tag = tag.unwrap_or_default();
        let word = tag.trim_start_matches("W/").trim_matches('"');
        if is_plain_word(word) {
            return Ok(word.to_owned());
        }
        Err(Error::Refused {
            id,
            reason: format!("the entity tag {word:?} of {} is not a plain word", file.name),
        })
    }

    fn download(&self, client: &Client, file: &RemoteFile, blob: &Path) -> Result<(), Error> {
        create_folder_of(blob)?;
        let partial = blob.with_extension("incomplete");
        let progress =
            Progress::new(format!("{} {}", self.id, file.name), "MiB", file.size.map(|size| size >> 20));
        let mut attempt = 0;
        while let Err(error) = self.append(client, file, &partial, &progress) {
            attempt += 1;
            if attempt == ATTEMPTS || !matches!(error, Error::Unreachable { .. }) {
                return Err(error);
            }
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        progress.finish();
        if let Err(reason) = check(&partial, file) {
            files::atomic::remove(&partial)?;
            return Err(Error::Damaged { id: self.id.to_string(), name: file.name.clone(), reason });
        }
        let synced = File::open(&partial).and_then(|file| file.sync_all());
        synced.map_err(|reason| files::Error::file("write", blob, reason))?;
        Ok(files::atomic::rename(&partial, blob)?)
    }

    /// Adds what is missing of a file.
    fn append(
        &self,
        client: &Client,
        file: &RemoteFile,
        partial: &Path,
        progress: &Progress,
    ) -> Result<(), Error> {
        let on_disk = |reason| Error::from(files::Error::file("write", partial, reason));
        let mut output = OpenOptions::new().append(true).create(true).open(partial).map_err(on_disk)?;
        let mut held = output.metadata().map_err(on_disk)?.len();
        if file.size.is_some_and(|size| held >= size) && held > 0 {
            return Ok(());
        }
        let (id, url) = (self.id.to_string(), self.url(client, file));
        let from = held;
        let range = move |request: reqwest::blocking::RequestBuilder| match from {
            0 => request,
            _ => request.header(RANGE, format!("bytes={from}-")),
        };
        let mut response =
            client.request(&id, &format!("file `{}`", file.name), &Method::GET, &url, &range)?;
        let continues = response.status() == StatusCode::PARTIAL_CONTENT
            && header(response.headers(), CONTENT_RANGE.as_str())
                .is_some_and(|range| range.starts_with(&format!("bytes {from}-")));
        if from > 0 && !continues {
            output.set_len(0).map_err(on_disk)?;
            held = 0;
        }
        let sent = response.content_length().map(|length| held + length);
        let known = file.size.or(sent);
        let limit = known.unwrap_or(client.settings.unlisted_limit);
        let free = partial.parent().and_then(free_bytes);
        if let (Some(bytes), Some(free)) = (known, free)
            && bytes.saturating_sub(held) > free
        {
            let reason = format!("it has {bytes} bytes, and the disk has {free} free");
            return Err(on_disk(io::Error::new(io::ErrorKind::StorageFull, reason)));
        }
        let mut piece = vec![0; PIECE];
        loop {
            let count = match response.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(&url, &error.to_string())),
            };
            held += count as u64;
            if held > limit {
                files::atomic::remove(partial)?;
                let reason = match file.size {
                    Some(_) => format!("{} is longer than listed", file.name),
                    None => format!("{} has no listed size, and more than {limit} bytes", file.name),
                };
                return Err(Error::Refused { id, reason });
            }
            output.write_all(&piece[..count]).map_err(on_disk)?;
            progress.set(held >> 20);
        }
        match file.size {
            Some(size) if held < size => {
                Err(broken(&url, &format!("the connection ended after {held} of {size} bytes")))
            }
            _ => Ok(()),
        }
    }
}

fn broken(url: &Url, reason: &str) -> Error {
    Error::Unreachable { host: crate::client::host(url), reason: reason.to_owned() }
}

/// Compares a file with the size and the hash that the hub lists.
fn check(path: &Path, file: &RemoteFile) -> Result<(), String> {
    let unreadable = |error: io::Error| error.to_string();
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if let Some(listed) = file.size.filter(|listed| *listed != size) {
        return Err(format!("{size} bytes, {listed} are listed"));
    }
    let (found, listed) = match &file.hash {
        None => return Ok(()),
        Some(Hash::Sha256(listed)) => {
            (files::hash::sha256_of_file(path).map_err(|error| error.to_string())?, listed)
        }
        Some(Hash::Git(listed)) => (git_hash(path, size).map_err(unreadable)?, listed),
    };
    if found.eq_ignore_ascii_case(listed) { Ok(()) } else { Err(format!("hash {found}, {listed} is listed")) }
}

/// SHA-1 of a file as git stores it.
fn git_hash(path: &Path, size: u64) -> io::Result<String> {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {size}\0"));
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// Runs on a thread without an asynchronous runtime: the blocking client must not be used, or dropped, inside one.
pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
