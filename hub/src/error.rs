//! Why the hub cannot be used. Each message says what to do.

use std::path::PathBuf;

/// Why something cannot be downloaded or uploaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file of the cache, or of the folder to upload.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A variable of the environment has a value that cannot be used.
    #[error("`{variable}` is `{value}`: {reason}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it, and what to set.
        reason: String,
    },
    /// Nothing may be requested, and the cache does not have it.
    #[error(
        "there is no connection to the hub, or `HF_HUB_OFFLINE` is set, and {0} is not in the cache; connect, or give a folder"
    )]
    Offline(String),
    /// No connection, or it broke again and again.
    #[error("{host} cannot be reached ({reason}); check the name and the network, or give a folder")]
    Unreachable {
        /// The host's name.
        host: String,
        /// The client's reason.
        reason: String,
    },
    /// The hub asks who this is.
    #[error(
        "{id} needs a token, or does not exist{message}; check the name, and set `HF_TOKEN` to a token of \
         https://huggingface.co/settings/tokens"
    )]
    NeedsToken {
        /// The repository.
        id: String,
        /// The hub's words, in parentheses; empty if there are none.
        message: String,
    },
    /// The hub does not accept the token.
    #[error(
        "the token of {origin} is refused for {id}{message}; make another one at https://huggingface.co/settings/tokens"
    )]
    TokenRefused {
        /// The repository.
        id: String,
        /// Where the token was found.
        origin: String,
        /// The hub's words, in parentheses; empty if there are none.
        message: String,
    },
    /// The repository is gated, or the token's owner may not do this.
    #[error(
        "access to {id} is refused{message}; if it is gated, accept its license at {page} with the account of the token"
    )]
    Forbidden {
        /// The repository.
        id: String,
        /// The hub's words, in parentheses; empty if there are none.
        message: String,
        /// The repository's page.
        page: String,
    },
    /// There is no such repository, revision or file.
    #[error("{id} has no {what}{message}; check the name")]
    Missing {
        /// The repository.
        id: String,
        /// What is missing.
        what: String,
        /// The hub's words, in parentheses; empty if there are none.
        message: String,
    },
    /// Another answer than expected.
    #[error("{host} answered {status} for {id}{message}; try again later")]
    Status {
        /// The host's name.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What was requested.
        id: String,
        /// The hub's words, in parentheses; empty if there are none.
        message: String,
    },
    /// The server sent something that could lead out of the cache, or elsewhere.
    #[error("the hub's answer for {id} is refused: {reason}; check `HF_ENDPOINT`")]
    Refused {
        /// The repository.
        id: String,
        /// What it sent.
        reason: String,
    },
    /// A download differs from what the hub lists.
    #[error("{name} of {id} is damaged: {reason}; it was removed, try again")]
    Damaged {
        /// The repository.
        id: String,
        /// The file.
        name: String,
        /// How it differs.
        reason: String,
    },
    /// A file's name cannot be used on the hub.
    #[error("the file name {0:?} cannot be used on the hub; rename it")]
    FileName(String),
    /// The folder to upload contains nothing that is uploaded.
    #[error("{} contains no file to upload", .0.display())]
    NothingToUpload(PathBuf),
}
