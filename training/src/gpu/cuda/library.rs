//! Shared libraries that are opened while the program runs, so that one program starts with and without them: a table of
//! functions for each, found by name.

use libloading::Library;
use std::path::Path;

/// Declares a table of a library's functions, all of which return a status.
macro_rules! functions {
    ($(#[$meta:meta])* $table:ident { $( $name:ident, $symbol:literal, ($($argument:ty),*); )* }) => {
        $(#[$meta])*
        pub(super) struct $table {
            $( pub(super) $name: unsafe extern "C" fn($($argument),*) -> std::ffi::c_int, )*
            /// Keeps the functions' code in memory.
            _library: libloading::Library,
        }

        /// The functions' names.
        pub(super) struct Names {
            $( pub(super) $name: &'static str, )*
        }

        pub(super) const NAMES: Names = Names { $( $name: $symbol, )* };

        impl $table {
            /// Finds the functions in a library; the error is the name of the first that it does not have.
            pub(super) fn of(library: libloading::Library) -> Result<Self, &'static str> {
                type Status = std::ffi::c_int;
                $(
                    // SAFETY: this is the function's type in NVIDIA's header, and the library is kept beside it.
                    let $name = unsafe { library.get::<unsafe extern "C" fn($($argument),*) -> Status>($symbol) };
                    let $name = *$name.map_err(|_| NAMES.$name)?;
                )*
                Ok(Self { $( $name, )* _library: library })
            }
        }
    };
}

pub(super) use functions;

/// What opening a library came to.
pub(super) enum Opened {
    Library(Library),
    /// There is no such file, or the loader does not know the name.
    Absent,
    /// It is there, and the loader's reason why it cannot be used.
    Broken(String),
}

/// Opens a library by path, or by a name that the loader looks up.
pub(super) fn open(file: &Path) -> Opened {
    let by_name = file.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    if !by_name && !file.exists() {
        return Opened::Absent;
    }
    // SAFETY: NVIDIA's libraries may be initialized on any thread, at any time.
    match unsafe { Library::new(file) } {
        Ok(library) => Opened::Library(library),
        Err(error) => {
            // The loader's words are the error's source.
            let reason =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let absent = format!("{}: cannot open shared object file", file.display());
            if by_name && reason.contains(&absent) { Opened::Absent } else { Opened::Broken(reason) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_told_from_one_that_is_broken() {
        assert!(matches!(open(Path::new("libsmol_is_not_here.so.1")), Opened::Absent));
        assert!(matches!(open(Path::new("/nowhere/libcuda.so.1")), Opened::Absent));
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "not a library").expect("it can be written");
        assert!(matches!(open(file.path()), Opened::Broken(_)));
    }
}
