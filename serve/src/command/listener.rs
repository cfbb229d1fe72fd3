//! Where the server listens: a TCP address, or a Unix socket, to which only users who may write its file can connect.

use anyhow::{Context, Result, bail, ensure};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

/// A client's connection.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Accepts connections.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
}

/// A socket's file, removed when dropped, unless another file has taken its place.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// The file's device and inode.
    identity: Option<(u64, u64)>,
}

#[cfg(unix)]
impl SocketFile {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // It may be gone already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens on an address.
    ///
    /// # Errors
    /// Names the address that cannot be used.
    pub(super) async fn tcp(host: &str, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((host, port)).await;
        Ok(Self::Tcp(
            listener.with_context(|| format!("cannot listen on {host}:{port} (`--host`, `--port`)"))?,
        ))
    }

    /// Listens on a Unix socket. The socket of a server that has died is replaced.
    ///
    /// # Errors
    /// Names the path if it is something else, in use, or cannot be created.
    #[cfg(unix)]
    pub(super) fn unix(path: &Path) -> Result<Self> {
        use std::os::unix::fs::FileTypeExt;
        let cannot = || format!("cannot listen on {} (`--unix-socket`)", path.display());
        if let Ok(found) = path.symlink_metadata() {
            let other = "give another path for `--unix-socket`";
            ensure!(found.file_type().is_socket(), "{} exists and is not a socket; {other}", path.display());
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => bail!("{} is in use by another server; {other}", path.display()),
                // Nobody listens any more.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).with_context(cannot)?;
                }
                Err(error) => return Err(error).with_context(cannot),
            }
        }
        let listener = UnixListener::bind(path).with_context(cannot)?;
        Ok(Self::Unix(listener, SocketFile::new(path)))
    }

    #[cfg(not(unix))]
    pub(super) fn unix(path: &Path) -> Result<Self> {
        bail!("this system has no Unix sockets (`--unix-socket {}`)", path.display())
    }

    /// Where clients find the server.
    ///
    /// # Errors
    /// When the system does not say it.
    pub(super) fn address(&self) -> Result<String> {
        match self {
            Self::Tcp(listener) => {
                let address = listener.local_addr().context("cannot read the server's address")?;
                Ok(format!("http://{address}"))
            }
            #[cfg(unix)]
            Self::Unix(_, file) => Ok(format!("the Unix socket {}", file.path.display())),
        }
    }

    /// The next connection and its client's address; clients of a Unix socket count as 127.0.0.1.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Connection>, IpAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                // A token is a small packet and must not wait until the previous one is acknowledged.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), client.ip()))
            }
            #[cfg(unix)]
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), Ipv4Addr::LOCALHOST.into()))
            }
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_servers_socket_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::unix(&path).unwrap();
        assert!(listener.address().unwrap().ends_with("/s"));
        let error = Listener::unix(&path).unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        drop(listener);
        assert!(!path.exists());
        // What another server has put there meanwhile is not removed.
        let listener = Listener::unix(&path).unwrap();
        let other = std::os::unix::net::UnixListener::bind(folder.path().join("other")).unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(other);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let error = Listener::unix(&path).unwrap_err().to_string();
        assert!(error.contains("not a socket"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
